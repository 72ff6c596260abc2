"""Forms of responses, as the OpenAPI page describes them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from celery_agents.contracts.watching import StepStats


class _View(BaseModel):
    model_config = ConfigDict(extra="allow")


class RunView(_View):
    """A run. Of one that no worker has begun there is its id and ``queued``."""

    id: str
    #: queued, ready, running, waiting; at its end succeeded, failed, cancelled or dead.
    state: str
    task: str | None = None
    tenant: str | None = None
    created_at: float | None = None
    finished_at: float | None = None
    usage: dict[str, Any] | None = None
    #: What it answered, at its end.
    value: Any = None
    error: dict[str, Any] | None = None
    steps: list[dict[str, Any]] = []
    steps_left_out: int = 0


class ListView(_View):
    """Things in a list."""

    items: list[dict[str, Any]]


class AuditView(ListView):
    """Entries of the audit."""

    #: The number that the next page comes before; None: there is no next one.
    more: int | None = None


class AcceptedView(_View):
    """Something that was asked for, and will be done."""

    id: str


class StatsView(_View):
    """Steps in numbers: those under way, and by how they ended those of a time."""

    steps: dict[str, int]
    since: float
    until: float
    counted_until: float
    rows: list[StepStats]


class ServiceHealth(_View):
    """The state of the API: it can serve, or not."""

    ok: bool
