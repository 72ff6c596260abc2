"""The books: what the agents wrote down, against the calls in the journal."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from app.journal.queries.reads import calls_made_twice
from app.journal.schema.models import Call, Step
from celery_agents.contracts.outcome import State
from tests.chaos.agents import BEGAN
from tests.chaos.stand import Stand


def audit(stand: Stand) -> dict[str, int]:
    """Check every call that was made; the figures of those that were made twice."""
    rows = stand.rows(
        Call.step_id,
        Call.seq,
        Call.token,
        Call.idempotency_key,
        Call.started_at,
        Call.finished_at,
        Call.error,
    )
    tokens = {row.id: row.token for row in stand.rows(Step.id, Step.token)}
    lines = [words for words in stand.counted() if words[0] != BEGAN]
    figures = reckon(rows, lines, tokens, stand.witness.remade())
    by_the_journal = stand.stack.read(calls_made_twice)  # a worker thaws while another one begins
    assert not by_the_journal, f"{by_the_journal} calls made twice by the journal's own count"
    return figures


def reckon(
    rows: Sequence[Any],
    lines: Sequence[Sequence[str]],
    tokens: Mapping[str, int],
    remade: Sequence[str],
) -> dict[str, int]:
    """Check rows of calls and the agents' lines; ``tokens`` are of the steps' last claims.

    A call in flight is one that was begun and, when its worker died or lost its lease, neither
    finished nor failed by the journal. It is the only kind that may be made again: ``remade`` are
    the steps of others that were. Times do not tell those, since an end has the time at which it is
    written, and is known when that is committed.
    """
    assert not remade, f"{len(remade)} finished calls were made again: {remade[:3]}"
    made = {(key, int(token)) for key, _, token, *_ in lines}
    assert len(made) == len(lines), "one claim made one call more than once"
    unknown = made - {(r.idempotency_key, r.token) for r in rows}
    assert not unknown, f"{len(unknown)} calls were made that no row tells of"
    calls = _by_key(rows)
    in_flight = [
        row
        for attempts in calls.values()
        for row in attempts
        if row.error is None
        and row.token < tokens[row.step_id]
        and (row.finished_at is None or row.token < attempts[-1].token)
    ]
    return {
        "calls": len(calls),
        "in_flight_at_a_loss": len(in_flight),
        "of_them_paid_twice": sum(_paid_twice(made, attempts) for attempts in calls.values()),
        "finished_and_made_again": len(remade),
    }


def _by_key(rows: Sequence[Any]) -> dict[str, list[Any]]:
    """The attempts at each call, first to last; a call has one key, and a key one call."""
    named = {(r.step_id, r.seq, r.idempotency_key) for r in rows}
    assert len(named) == len({(step_id, seq) for step_id, seq, _ in named}), "a key has changed"
    assert len(named) == len({key for _, _, key in named}), "two calls have one key"
    calls: dict[str, list[Any]] = defaultdict(list)
    for row in sorted(rows, key=lambda r: r.token):
        calls[row.idempotency_key].append(row)
    return calls


def _paid_twice(made: set[tuple[str, int]], attempts: Sequence[Any]) -> int:
    """How often this call was made again although an earlier one had been paid for."""
    paid = [r for r in attempts if (r.idempotency_key, r.token) in made]
    return sum(1 for earlier, _ in pairwise(paid) if earlier.error is None)


def ended_twice(ended: Counter[str], reopened: Counter[str], rows: Iterable[Any]) -> list[str]:
    """Steps that ended more often than they were begun or opened again; ``rows`` are of all time.

    A cancel that comes after a run was cleaned makes a row of its own, which nobody works on.
    """
    rowed, idle = Counter[str](), Counter[str]()
    for row in rows:
        rowed[row.id] += 1
        idle[row.id] += row.state == State.CANCELLED and not row.attempts
    allowed = {i: 1 + reopened[i] + min(n - 1, idle[i]) for i, n in rowed.items()}
    return [i for i, n in ended.items() if n > allowed.get(i, 0)]
