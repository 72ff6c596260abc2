"""The books: what the agents wrote down, against the calls in the journal."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import pairwise
from typing import Any

from app.journal.models import Call, Step
from tests.chaos.agents import BEGAN
from tests.chaos.stand import Stand


def audit(stand: Stand) -> dict[str, int]:
    """Check every call that was made; the figures of those that were made twice.

    A call in flight is one that was begun and, when its worker died or lost its lease, neither
    finished nor failed by the journal. It is the only kind that may be made again.
    """
    rows = stand.rows(
        Call.step_id,
        Call.seq,
        Call.token,
        Call.idempotency_key,
        Call.started_at,
        Call.finished_at,
        Call.error,
    )
    made = _made(stand)
    _check_lines(made, rows)
    calls: dict[str, list[Any]] = defaultdict(list)
    for row in sorted(rows, key=lambda r: r.token):
        calls[row.idempotency_key].append(row)
    assert len({(r.step_id, r.seq) for r in rows}) == len(calls), "calls shared or changed keys"
    again = [
        earlier.idempotency_key
        for attempts in calls.values()
        for n, earlier in enumerate(attempts)
        for later in attempts[n + 1 :]
        if _finished(earlier) and earlier.finished_at < later.started_at
    ]
    assert not again, f"{len(again)} finished calls were made again: {again[:3]}"
    tokens = {row.id: row.token for row in stand.rows(Step.id, Step.token)}
    in_flight = [
        row
        for attempts in calls.values()
        for row in attempts
        if row.token < tokens[row.step_id] and row.error is None and not _final(row, attempts)
    ]
    by_the_journal = stand.stack.calls_made_twice()
    assert not by_the_journal, f"{by_the_journal} calls made twice by the journal's own count"
    return {
        "calls": len(calls),
        "in_flight_at_a_loss": len(in_flight),
        "of_them_paid_twice": sum(_paid_twice(made, attempts) for attempts in calls.values()),
        "finished_and_made_again": len(again),
    }


def _final(row: Any, attempts: list[Any]) -> bool:
    """Whether it had finished before it was made again; one that thaws finishes its own late."""
    again = min((r.started_at for r in attempts if r.token > row.token), default=math.inf)
    return row.finished_at is not None and row.finished_at <= again


def _finished(row: Any) -> bool:
    return row.finished_at is not None and row.error is None


def _made(stand: Stand) -> set[tuple[str, int]]:
    """Key and token of each act, with the promise that a claim makes a call once."""
    lines = [words for words in stand.counted() if words[0] != BEGAN]
    made = {(key, int(token)) for key, _, token, _ in lines}
    assert len(made) == len(lines), "one claim made one call more than once"
    return made


def _check_lines(made: set[tuple[str, int]], rows: list[Any]) -> None:
    journaled = {(r.idempotency_key, r.token) for r in rows}
    unknown = made - journaled
    assert not unknown, f"{len(unknown)} calls were made that no row tells of"


def _paid_twice(made: set[tuple[str, int]], attempts: list[Any]) -> int:
    """How often this call was made again although an earlier one had been paid for."""
    paid = [r for r in attempts if (r.idempotency_key, r.token) in made]
    return sum(1 for earlier, _ in pairwise(paid) if earlier.error is None)
