"""Forms of responses of ``/v1``, as the OpenAPI page describes them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class _OpenAiView(BaseModel):
    model_config = ConfigDict(extra="allow")


class ModelView(_OpenAiView):
    """An agent or a panel."""

    id: str
    object: str
    #: Seconds since 1970: of an agent, when it was last offered.
    created: int
    #: Its kind; of a panel its pattern.
    owned_by: str


class ModelsView(_OpenAiView):
    """All that may be asked."""

    object: str
    data: list[ModelView]


class CompletionView(_OpenAiView):
    """The answer of a run."""

    id: str
    object: str
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: dict[str, Any] | None = None


class ResponseView(_OpenAiView):
    """A run as a response."""

    id: str
    object: str
    created_at: int
    #: queued, in_progress; at its end completed, failed or cancelled.
    status: str
    model: str
    output: list[dict[str, Any]]
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class InputItemsView(_OpenAiView):
    """A page of the items that a response was asked."""

    object: str
    data: list[dict[str, Any]]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool


class OpenAiProblem(_OpenAiView):
    """An error as OpenAI's clients read it."""

    error: dict[str, Any]


def openai_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Errors of a route, for its page."""
    return {status: {"model": OpenAiProblem} for status in (400, 401, 403, 429, 503, *statuses)}
