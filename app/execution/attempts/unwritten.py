"""Steps that have begun before their rows are written (see app/journal/ahead.py)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from app.concurrency.fibers import wait
from app.concurrency.future import Future
from app.execution.runtime import Runtime
from app.journal.ahead import Ahead
from app.journal.schema.rows import Claimed
from celery_agents.noted import note

log = logging.getLogger(__name__)


def row_of(claim: Claimed) -> Ahead | None:
    """The ends that come before a step that has begun ahead of them."""
    return claim.ahead if isinstance(claim.ahead, Ahead) else None


def once_written(claim: Claimed, call: Callable[[], Any]) -> None:
    """Make a call once the ends are written that come before a step; where they are refused, never.

    Nobody is to hear of a step that is undone: it is done again.
    """
    if (row := row_of(claim)) is None:
        call()
    else:
        row.then(call)


def written_in_time(runtime: Runtime, row: Ahead) -> None:
    """Write a row of ends, if nobody has; on the loop. Where it is refused, its last step stops."""
    if row.is_sent:
        return

    def written(_: Future[Claimed | None]) -> None:
        if not is_written(row):
            runtime.loop.post(_stop, runtime, row.last_id)

    row.write().add_done_callback(written)


def is_written(row: Ahead) -> bool:
    """Have a row of ends written; return whether it is, by now."""
    try:
        return wait(row.write()) is not None
    except Exception as error:  # noqa: BLE001 - it is noted, and the first end is told by itself
        note(log, "sequel_row", "Ends of a flow's steps are not written together", error=error)
        return False


def _stop(runtime: Runtime, step_id: str) -> None:
    if (active := runtime.active.get(step_id)) is not None:
        active.lost = True
        active.cancel()
