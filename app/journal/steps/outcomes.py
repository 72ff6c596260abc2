"""Ends of steps: outcomes are written and counted in joins, which may fire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select, text, update

from app.journal.memory import keeping
from app.journal.schema import locks
from app.journal.schema.engine import CLOCK_POSTGRESQL, as_json, now
from app.journal.schema.models import Step, table
from app.journal.schema.rows import Aftermath, EndedStep, NewEntry, NewExchange, NewMemory, Wake
from app.journal.steps import compensations, joins, sessions, webhooks
from app.journal.steps.entries import append, forget
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.light import light


@light(frozen=True, slots=True)
class Seen:
    """The state of a step's row when its end was decided on, without a lock."""

    state: State
    token: int
    attempts: int
    cancelled: bool


@light(frozen=True, slots=True)
class Conclusion:
    """The end of a step: of a claim, by its token; of a row that is still as it was ``seen``.

    Without either it ends whatever state it is in (unless ended): its row is locked then.
    """

    step_id: str
    token: int | None
    outcome: Outcome
    parent_id: str | None
    run_id: str
    seen: Seen | None = None
    exchange: NewExchange | None = None  # of a root that holds a session
    entries: Sequence[NewEntry] = ()  # that it adds to streams
    lets_go: bool = False  # members of it may be open
    begins: int = 0  # of a flow: lines of its history before that place are deleted
    memories: Sequence[NewMemory] = ()  # that it has learned, if it succeeded
    lesson: NewMemory | None = None  # how it went, for others to learn from


def conclude(
    connection: Connection, conclusions: Sequence[Conclusion], rules: joins.Rules
) -> list[Aftermath]:
    """Write outcomes, count them in the joins of their parents, fire what is complete."""
    own = ((c.step_id, c.run_id) for c in conclusions if c.lets_go)
    locks.lock(connection, [*((c.parent_id, c.run_id) for c in conclusions), *own])
    _hold_roots(connection, conclusions)
    ended: list[tuple[str, int, bool, str | None]] = []
    roots: dict[str, Outcome] = {}
    undoable: set[str] = set()
    by_run: dict[str, Aftermath] = {}
    told: list[webhooks.EndedRoot] = []
    results: list[Aftermath] = []
    rows = _end(connection, conclusions, rules.wake_grace_s)
    for c, row in zip(conclusions, rows, strict=True):
        results.append(Aftermath(applied=row is not None))
        if row is not None and c.token is None:  # what a claim ends is counted by who has it
            root = row.parent_id is None
            results[-1].ended.append(EndedStep(row.task, row.agent, c.outcome, root))
        if row is not None and row.parent_id is not None:
            ended.append((row.parent_id, row.round, c.outcome.ok, row.agent))
            if c.outcome.compensation is not None:
                undoable.add(row.run_id)
                by_run.setdefault(row.run_id, results[-1])
        elif row is not None:
            roots[c.step_id] = c.outcome
            by_run[c.step_id] = results[-1]
            if row.envelope is not None:
                told.append(webhooks.EndedRoot(c.step_id, c.outcome, row.envelope))
    fired = joins.count(connection, ended, rules)
    _drop(connection, conclusions, results)
    for c, result in zip(conclusions, results, strict=True):
        # Only one of a batch's members carries the wake of their common parent.
        follow = fired.pop(c.parent_id or "", None) if result.applied else None
        if follow is not None:
            result.add(follow)
    grace = rules.wake_grace_s
    undoing = compensations.follow_ends(connection, roots, undoable, grace)
    telling = webhooks.follow_ends(connection, told, grace) if told else {}
    talking = _hand_on(connection, conclusions, results, grace)
    for run_id, wake in [*undoing.items(), *telling.items(), *talking.items()]:
        by_run[run_id].wakes.append(wake)
    _learn(connection, conclusions, rows)
    _add(connection, conclusions, results)
    return results


def _drop(
    connection: Connection, conclusions: Sequence[Conclusion], results: Sequence[Aftermath]
) -> None:
    """End the open members of those that let go of them."""
    for c, result in zip(conclusions, results, strict=True):
        if c.lets_go and result.applied:
            result.add(joins.drop_members(connection, [c.step_id], State.CANCELLED))


def _hold_roots(connection: Connection, conclusions: Sequence[Conclusion]) -> None:
    """Lock the roots of steps that have learned something, with all that end: by their ids."""
    if roots := [c.run_id for c in conclusions if c.memories]:
        locks.lock_steps(connection, [*roots, *(c.step_id for c in conclusions)])


def _learn(connection: Connection, conclusions: Sequence[Conclusion], rows: Sequence[Any]) -> None:
    """Keep what steps have learned that ended here with success; let roots' become everybody's."""
    ended = [
        (c, row)
        for c, row in zip(conclusions, rows, strict=True)
        if row is not None and c.outcome.ok
    ]
    roots = [c.step_id for c, row in ended if row.remembers and row.parent_id is None]
    if roots:
        keeping.publish(connection, roots)
    for c, _ in ended:
        if c.memories:
            keeping.learned(connection, c.run_id, c.memories)
    lessons = [
        c.lesson
        for c, row in zip(conclusions, rows, strict=True)
        if row is not None and c.lesson is not None
    ]
    if lessons:
        keeping.experienced(connection, lessons)


def _add(
    connection: Connection, conclusions: Sequence[Conclusion], results: Sequence[Aftermath]
) -> None:
    """Add to streams what those add that ended here."""
    added = [e for c, r in zip(conclusions, results, strict=True) if r.applied for e in c.entries]
    if added:
        append(connection, added)
    for c, r in zip(conclusions, results, strict=True):
        if c.begins and r.applied:
            forget(connection, c.entries[0].tenant, c.entries[0].stream, c.begins)


def _hand_on(
    connection: Connection,
    conclusions: Sequence[Conclusion],
    results: Sequence[Aftermath],
    wake_grace_s: float,
) -> dict[str, Wake]:
    """Let go of the sessions that ended roots held; a success without an exchange held none."""
    ended = {
        c.step_id: c.exchange
        for c, result in zip(conclusions, results, strict=True)
        if result.applied and c.parent_id is None and not (c.outcome.ok and c.exchange is None)
    }
    return sessions.follow_ends(connection, ended, wake_grace_s) if ended else {}


# Statements of the hot path are built once: building one costs more than running it.
_S = table(Step).c
_CLOSED = {
    _S.state: bindparam("b_state"),
    _S.outcome: bindparam("b_outcome", type_=_S.outcome.type),
    _S.finished_at: now(),
    _S.worker_id: None,
    # Who reads a member is its parent, through the join; only roots have successors.
    _S.settled: bindparam("b_settled"),
    _S.wake_at: now() + bindparam("b_grace", type_=_S.wake_at.type),
    _S.wakes: 0,
}
_ENDED = (_S.id, _S.token, _S.parent_id, _S.round, _S.run_id, _S.envelope, _S.remembers, _S.agent)
_HELD = select(*_ENDED).where(
    _S.id.in_(bindparam("b_ids", expanding=True)), _S.state == State.RUNNING
)
_END_HELD = update(table(Step)).where(_S.id == bindparam("b_id")).values(_CLOSED)
_END_ONE = (
    update(table(Step))
    .where(_S.id == bindparam("b_id"), _S.state == State.RUNNING, _S.token == bindparam("b_token"))
    .values(_CLOSED)
    .returning(*_ENDED)
)
# PostgreSQL parses and plans each row's statement of an "executemany"; so there the rows of a batch
# come as arrays, and one statement ends them. SQLite has no arrays, and prepares a statement once.
_END_MANY = text(
    f"""
    UPDATE steps SET state = v.state, outcome = CAST(v.outcome AS json), settled = v.settled,
        finished_at = {CLOCK_POSTGRESQL}, wake_at = {CLOCK_POSTGRESQL} + :grace,
        worker_id = NULL, wakes = 0
    FROM unnest(
        CAST(:ids AS text[]), CAST(:tokens AS integer[]), CAST(:states AS text[]),
        CAST(:outcomes AS text[]), CAST(:settled AS boolean[])
    ) AS v(id, token, state, outcome, settled)
    WHERE steps.id = v.id AND steps.token = v.token AND steps.state = 'running'
    RETURNING steps.id, steps.token, steps.parent_id, steps.round, steps.run_id, steps.envelope,
        steps.remembers, steps.agent
    """  # noqa: S608 - of our own constant
)
_END_ANY = (
    update(table(Step))
    .where(_S.id == bindparam("b_id"), _S.state.in_([State.READY, State.RUNNING, State.WAITING]))
    .values({**_CLOSED, _S.token: _S.token + 1})  # a claim of before ends nothing any more
    .returning(*_ENDED, _S.task)
)
_END_SEEN = _END_ANY.where(
    _S.state == bindparam("b_was"),
    _S.token == bindparam("b_token"),
    _S.attempts == bindparam("b_attempts"),
    _S.cancel_requested == bindparam("b_cancelled"),
)


def _end(
    connection: Connection, conclusions: Sequence[Conclusion], wake_grace_s: float
) -> list[Any]:
    """Return the row of each conclusion that was ours to end; None for the others.

    One or two statements for all that were claimed, however many.
    """
    if len(conclusions) == 1 and conclusions[0].token is not None:
        values = _values(conclusions[0], wake_grace_s) | {"b_token": conclusions[0].token}
        return [connection.execute(_END_ONE, values).first()]
    claimed: dict[tuple[str, int], Conclusion] = {}
    for c in conclusions:
        if c.token is not None:
            claimed.setdefault((c.step_id, c.token), c)
    end = _end_arrays if connection.dialect.name == "postgresql" else _end_rows
    ours = end(connection, list(claimed.values()), wake_grace_s) if claimed else {}
    return [
        _end_unclaimed(connection, c, wake_grace_s)
        if c.token is None
        else ours.pop((c.step_id, c.token), None)  # a second end of a batch finds it gone
        for c in conclusions
    ]


def _end_unclaimed(connection: Connection, c: Conclusion, wake_grace_s: float) -> Any:
    values = _values(c, wake_grace_s)
    if c.seen is None:
        return connection.execute(_END_ANY, values).first()
    seen = {
        "b_was": c.seen.state,
        "b_token": c.seen.token,
        "b_attempts": c.seen.attempts,
        "b_cancelled": c.seen.cancelled,
    }
    return connection.execute(_END_SEEN, values | seen).first()


def _end_rows(
    connection: Connection, claimed: Sequence[Conclusion], wake_grace_s: float
) -> dict[tuple[str, int | None], Any]:
    rows = connection.execute(_HELD, {"b_ids": [c.step_id for c in claimed]})
    held = {(row.id, row.token): row for row in rows}
    ours = {key: held[key] for c in claimed if (key := (c.step_id, c.token)) in held}
    ending = [_values(c, wake_grace_s) for c in claimed if (c.step_id, c.token) in ours]
    if ending:
        connection.execute(_END_HELD, ending)
    return ours


def _end_arrays(
    connection: Connection, claimed: Sequence[Conclusion], wake_grace_s: float
) -> dict[tuple[str, int | None], Any]:
    if len(claimed) > 1:
        locks.lock_steps(connection, (c.step_id for c in claimed))
    rows = connection.execute(
        _END_MANY,
        {
            "ids": [c.step_id for c in claimed],
            "tokens": [c.token for c in claimed],
            "states": [c.outcome.state.value for c in claimed],
            "outcomes": [as_json(c.outcome.compact()) for c in claimed],
            "settled": [c.parent_id is not None for c in claimed],
            "grace": wake_grace_s,
        },
    )
    return {(row.id, row.token): row for row in rows}


def _values(c: Conclusion, wake_grace_s: float) -> dict[str, Any]:
    return {
        "b_id": c.step_id,
        "b_state": c.outcome.state,
        "b_outcome": c.outcome.compact(),
        "b_settled": c.parent_id is not None,
        "b_grace": wake_grace_s,
    }
