"""Short tasks of their own queue, for clients that do not see the journal."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from app.runtime import runtime_of
from celery_agents import names
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import AgentsError


@shared_task(name=names.CANCEL, bind=True, acks_late=True)
def cancel(self: Any, run_id: str) -> bool:
    """Cancel a run with all its steps, also one that no worker has seen yet.

    Returns whether it was still open.
    """
    runtime = runtime_of(self.app, self.request.hostname)
    after = runtime.journal.cancel(run_id)
    runtime.follow(after)
    runtime.intake.forget([self.request.id])
    return after.applied


@shared_task(name=names.APPROVE, bind=True, acks_late=True, throws=(AgentsError,))
def approve(self: Any, run_id: str, choice: JsonValue) -> bool:
    """Answer a run that waits for a person; returns whether the answer was the first."""
    runtime = runtime_of(self.app, self.request.hostname)
    after = runtime.journal.approve(run_id, choice)
    runtime.follow(after)
    return after.applied


@shared_task(name=names.STATUS, bind=True)
def status(self: Any, run_id: str) -> dict[str, Any] | None:
    """A run as a tree of steps, from the journal; None when there is no such run."""
    return runtime_of(self.app, self.request.hostname).journal.run_tree(run_id)
