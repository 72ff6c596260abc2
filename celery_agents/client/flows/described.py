"""Runs that something else starts than a client: a schedule, a subscription."""

from __future__ import annotations

from typing import Any

from celery import Signature
from pydantic import ValidationError

from celery_agents import names
from celery_agents.contracts.flows.schedules import ScheduledRun
from celery_agents.errors import InvalidPayloadError

#: What may follow a step in a canvas: a schedule starts one run and no more.
_FOLLOWS = ("link", "link_error", "chain", "chord", "task_id")
_WANTED = "run: it is a signature of a verb, as agents.ask.s(…) and agents.start.s(…) make them"


def described_run(run: Signature, tenant: str) -> dict[str, Any]:
    """Describe the run that a schedule or a subscription starts, as a worker reads it.

    Raises:
        InvalidPayloadError: it is no signature of one step, or somebody else's.
    """
    if not isinstance(run, Signature) or run.get("task") not in names.STEP_TASKS:
        raise InvalidPayloadError(f"{_WANTED}.")
    options: dict[str, Any] = run.options
    if any(options.get(name) for name in _FOLLOWS):
        raise InvalidPayloadError(f"{_WANTED}, without an id and without what follows it.")
    whose = (options.get("headers") or {}).get(names.TENANT, "")
    if whose not in ("", tenant):
        raise InvalidPayloadError(f"run: it is of tenant {whose!r}, what starts it of {tenant!r}.")
    try:
        found = ScheduledRun(
            task=run.task,
            args=[*run.args],
            kwargs=dict(run.kwargs),
            queue=options["queue"],
            priority=options["priority"],
        )
    except (KeyError, ValidationError):
        raise InvalidPayloadError(f"{_WANTED}.") from None
    return found.model_dump(mode="json")
