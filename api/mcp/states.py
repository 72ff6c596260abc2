"""Runs as tasks of the protocol: their states, in the words of both versions that have tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from api.runs import outcome_of_tree
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.wire.ids import begun_at

#: The version whose core has tasks, and the extension of the one after it.
CORE, EXTENSION = "2025-11-25", "io.modelcontextprotocol/tasks"
#: Milliseconds between two looks, as clients are advised.
POLL_MS = 1_000
WORKING, ASKING, DONE = "working", "input_required", "completed"
FAILED, CANCELLED = "failed", "cancelled"
_STATES = {State.SUCCEEDED: DONE, State.CANCELLED: CANCELLED}


def status_of(state: State | None, *, asks: bool, core: bool) -> str:
    """The word for how a run ended, or None; of a tool that failed the versions have two."""
    if state is None:
        return ASKING if asks else WORKING
    return _STATES.get(state, FAILED if core else DONE)


def core_task(run: Mapping[str, Any], status: str, kept_ms: int | None) -> dict[str, Any]:
    """A task as 2025-11-25 has it."""
    return {**_about(run, status), "ttl": kept_ms, "pollInterval": POLL_MS}


def extension_task(run: Mapping[str, Any], status: str, kept_ms: int | None) -> dict[str, Any]:
    """A task as the extension has it."""
    return {**_about(run, status), "ttlMs": kept_ms, "pollIntervalMs": POLL_MS}


def ended(tree: Mapping[str, Any]) -> Outcome | None:
    """How a run of the journal ended; None while it has not."""
    return outcome_of_tree(dict(tree))


def _about(run: Mapping[str, Any], status: str) -> dict[str, Any]:
    made = run.get("created_at") or begun_at(run["id"]) or 0.0
    seen = run.get("finished_at") or _newest(run.get("steps", ())) or made
    return {
        "taskId": run["id"],
        "status": status,
        "createdAt": _iso(made),
        "lastUpdatedAt": _iso(max(made, seen)),
    }


def _newest(steps: Sequence[Mapping[str, Any]]) -> float:
    moments = (step.get(name) for step in steps for name in ("started_at", "finished_at"))
    return max((at for at in moments if at is not None), default=0.0)


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
