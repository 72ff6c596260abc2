"""Joins: counting a step's members as they end, and firing it once.

In what order rows are locked is told in locks.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from sqlalchemy import Text, any_, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Connection

from agents.plan import JoinPolicy, MemberState
from app.journal.schema import locks, parking
from app.journal.schema.engine import as_json, now, read_clock
from app.journal.schema.models import Join, Run, Step, table
from app.journal.schema.rows import FINAL, Aftermath, EndedStep
from app.journal.schema.sealed import sealed_by
from app.journal.schema.upsert import insertion
from app.journal.schema.wake_columns import WAKE_COLUMNS, wake_of
from app.journal.steps.caps import Caps
from app.journal.steps.shared import Wholes
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.errors import StepCancelledError, UnreadableValueError
from celery_agents.sealing import Seals, opened_outcome

_S = table(Step).c
_J = table(Join).c

#: Says for a pattern's task and payload whether its members so far decide it.
Decider = Callable[[str, dict[str, Any], list[MemberState]], bool]

#: A wake that comes a little before its time, by a timer of another clock, still counts.
EARLY_S = 0.25


@dataclass(frozen=True, slots=True)
class Rules:
    """The parameters of joins that do not stand in a row."""

    decided: Decider
    wake_grace_s: float
    #: Bytes that the rows of one expansion's members may hold; None: any number.
    spread_limit_bytes: int | None = None
    caps: Caps = field(default_factory=Caps)
    #: What encrypts values; None: nothing does.
    seals: Seals | None = None


def open_round(connection: Connection, step_id: str, expected: int, policy: JoinPolicy) -> int:
    """Begin a new round of a step's join over so many members; return its number, from 1.

    Those of a later one may have ended already. Whoever calls has locked the join if there is one.
    One that waits for any of its members is opened anew in its first round, whose members go on to
    count: the next one that ends fires it.
    """
    goes_on = policy.kind == "any"
    values = {
        "b_id": step_id,
        "b_policy": policy.kind,
        "b_keep": policy.keep,
        "b_expected": 1 if goes_on else expected,
        "b_more": 0 if goes_on else 1,
        "b_timeout": left_s(connection, policy),
        "b_max": policy.max_concurrent,
    }
    first = connection.execute(_first_round(connection.dialect.name), values).scalar()
    if first is not None:
        return int(first)
    return int(connection.execute(_NEXT_ROUND, values).scalar_one())


def left_s(connection: Connection, policy: JoinPolicy) -> float | None:
    """Return how long a join may be open still: of a flow's timer some time has passed already."""
    if policy.timeout_s is None or policy.since is None:
        return policy.timeout_s
    return policy.timeout_s - (read_clock(connection) - policy.since)


_OPENED = {
    _J.policy: bindparam("b_policy"),
    _J.keep: bindparam("b_keep"),
    _J.expected: bindparam("b_expected"),
    _J.done: 0,
    _J.succeeded: 0,
    _J.state: "open",
    _J.deadline_at: now() + bindparam("b_timeout", type_=_J.deadline_at.type),
}
_NEXT_ROUND = (
    update(table(Join))
    .where(_J.step_id == bindparam("b_id"))
    .values({**_OPENED, _J.round: _J.round + bindparam("b_more"), _J.max_concurrent: None})
    .returning(_J.round)
)


@cache
def _first_round(dialect: str) -> Any:
    at_once = bindparam("b_max", type_=_J.max_concurrent.type)
    row = {**_OPENED, _J.step_id: bindparam("b_id"), _J.round: 1, _J.max_concurrent: at_once}
    return insertion(dialect, table(Join)).values(row).returning(_J.round)


def recount(connection: Connection, step_id: str, number: int) -> None:
    """Count the members of this round that had ended before it began (a repeated expansion)."""
    connection.execute(_RECOUNT, {"b_id": step_id, "b_round": number})


def ended(connection: Connection, step_id: str) -> int:
    """Count the members of a step that have ended, of every round."""
    query = select(func.count()).where(_S.parent_id == step_id, _S.state.in_(FINAL))
    return connection.execute(query).scalar_one()


_OF_ROUND = (_S.parent_id == bindparam("b_id")) & (_S.round == bindparam("b_round"))
_RECOUNT = (
    update(table(Join))
    .where(_J.step_id == bindparam("b_id"))
    .values(
        done=select(func.count()).where(_OF_ROUND, _S.state.in_(FINAL)).scalar_subquery(),
        succeeded=select(func.count())
        .where(_OF_ROUND, _S.state == State.SUCCEEDED)
        .scalar_subquery(),
    )
)

_COUNT = (
    update(table(Join))
    .where(_J.step_id == bindparam("b_id"), _J.round == bindparam("b_round"), _J.state == "open")
    .values(done=_J.done + bindparam("b_done"), succeeded=_J.succeeded + bindparam("b_succeeded"))
    .returning(_J.expected, _J.done, _J.succeeded, _J.policy, _J.round, _J.max_concurrent)
)


def count(
    connection: Connection, ended: Iterable[tuple[str, int, bool, str | None]], rules: Rules
) -> dict[str, Aftermath]:
    """Count ended members, given as (parent, round, succeeded, agent); fire what is complete."""
    totals: dict[tuple[str, int], list[int]] = {}
    free: dict[str, list[str | None]] = {}
    for parent_id, number, ok, agent in ended:
        total = totals.setdefault((parent_id, number), [0, 0])
        total[0] += 1
        total[1] += ok
        free.setdefault(parent_id, []).append(agent)
    result: dict[str, Aftermath] = {}
    for (parent_id, number), (done, succeeded) in sorted(totals.items()):
        counted = connection.execute(
            _COUNT,
            {"b_id": parent_id, "b_round": number, "b_done": done, "b_succeeded": succeeded},
        ).first()
        if counted is None:
            continue
        if _complete(connection, parent_id, counted, rules):
            over = counted.round == 1 and counted.done >= counted.expected
            result[parent_id] = fire(connection, parent_id, rules, over=over)
        elif counted.max_concurrent is not None:
            had = counted.max_concurrent + counted.done - done
            grace_s = rules.wake_grace_s
            next_ = free[parent_id][:done]
            wakes = parking.release(connection, parent_id, next_, grace_s, least=had)
            result[parent_id] = Aftermath(wakes=wakes)
    return result


def fire_if_complete(connection: Connection, step_id: str, rules: Rules) -> Aftermath:
    """Fire a join whose members may all have ended before it was opened."""
    row = connection.execute(_OPEN, {"b_id": step_id}).first()
    if row is not None and _complete(connection, step_id, row, rules):
        return fire(connection, step_id, rules)
    return Aftermath()


_OPEN = select(_J.expected, _J.done, _J.succeeded, _J.policy).where(
    _J.step_id == bindparam("b_id"), _J.state == "open"
)


def fire_if_late(connection: Connection, step_id: str, rules: Rules) -> Aftermath | None:
    """Fire a join, locked by whoever calls, whose deadline has passed; None when it has not."""
    late = connection.execute(
        select(_J.step_id).where(
            _J.step_id == step_id, _J.state == "open", _J.deadline_at <= now() + EARLY_S
        )
    ).first()
    return fire(connection, step_id, rules, late=True) if late else None


def _complete(connection: Connection, parent_id: str, join: Any, rules: Rules) -> bool:
    if join.done >= join.expected:
        return True
    if join.policy == "first":
        return bool(join.succeeded)
    if join.policy == "unbroken":
        return bool(join.succeeded < join.done)
    if join.policy == "decided":
        parent = connection.execute(_PARENT, {"b_id": parent_id}).one()
        try:
            payload = Wholes(connection)(parent_id, parent.parent_id, parent.payload)
            return rules.decided(parent.task, payload, members(connection, parent_id))
        except UnreadableValueError:  # the pattern reads it, too, and ends with that
            return True
    return False


_PARENT = select(_S.task, _S.payload, _S.parent_id).where(_S.id == bindparam("b_id"))


def members(connection: Connection, parent_id: str) -> list[MemberState]:
    """All members of a step, of every round, in their order."""
    return states(members_of(connection, [parent_id])[parent_id])


#: Its place in the rows of members.
_OUTCOME = 2


def members_of(connection: Connection, parent_ids: Sequence[str]) -> dict[str, list[Any]]:
    """Read the members of several steps: a list of rows for each, to be read by :func:`states`."""
    found: dict[str, list[Any]] = {parent_id: [] for parent_id in parent_ids}
    ids: Any = list(parent_ids)
    if connection.dialect.name == "sqlite":
        ids = as_json(ids)
    of_all = _MEMBERS[connection.dialect.name]
    seals = sealed_by(connection)
    for parent_id, step_id, *row in connection.execute(of_all, {"b_ids": ids}):
        if row[_OUTCOME] is not None and seals is not None:  # opened by whoever reads it
            row[_OUTCOME] = partial(opened_outcome, seals, row[_OUTCOME], step_id)
        found[parent_id].append(row)
    return found


def states(rows: Sequence[Any]) -> list[MemberState]:
    """Turn rows of :func:`members_of` into what a pattern decides by.

    Raises:
        UnreadableValueError: an outcome cannot be decrypted.
    """
    return [
        MemberState(
            key=member or "",
            state=State(state),
            outcome=None if outcome is None else Outcome.model_validate(_read(outcome)),
            elapsed_s=elapsed,
            round=number,
        )
        for member, state, outcome, elapsed, number in rows
    ]


def _read(outcome: Any) -> Any:
    return outcome() if isinstance(outcome, partial) else outcome


_MEMBER = select(
    _S.parent_id,
    _S.id,
    _S.member,
    _S.state,
    _S.outcome,
    (func.coalesce(_S.finished_at, now()) - _S.started_at),
    _S.round,
).order_by(_S.parent_id, _S.position)
_MEMBERS = {
    "postgresql": _MEMBER.where(_S.parent_id == any_(bindparam("b_ids", type_=ARRAY(Text)))),
    "sqlite": _MEMBER.where(
        _S.parent_id.in_(select(func.json_each(bindparam("b_ids")).table_valued("value").c.value))
    ),
}


def fire(
    connection: Connection, step_id: str, rules: Rules, *, over: bool = False, late: bool = False
) -> Aftermath:
    """Close the join, make its step ready, and let go of members that no longer matter.

    ``over``: all members that it ever had are known to have ended. ``late``: it fires by its
    deadline, and members may be to be kept then; a success lets go of them.
    """
    fired = connection.execute(_FIRE, {"b_id": step_id}).first()
    if fired is None:
        return Aftermath()
    woken = connection.execute(_READY, {"b_id": step_id, "b_grace": rules.wake_grace_s}).all()
    aftermath = Aftermath(wakes=[wake_of(row) for row in woken])
    if not (over or (late and fired.keep) or fired.policy == "any"):
        aftermath.add(drop_members(connection, [step_id], State.SKIPPED))
    return aftermath


def fire_any(connection: Connection, ids: Sequence[str], rules: Rules) -> Aftermath:
    """Fire these joins, of which each waits for anything, in few statements; as :func:`fire`.

    Whoever calls has locked them and their steps.
    """
    if not ids:
        return Aftermath()
    return ready(connection, connection.execute(_FIRE_ANY, {"b_ids": list(ids)}).scalars(), rules)


def ready(connection: Connection, ids: Iterable[str], rules: Rules) -> Aftermath:
    """Let these steps go on, which wait."""
    given = {"b_ids": list(ids), "b_grace": rules.wake_grace_s}
    return Aftermath(wakes=[wake_of(row) for row in connection.execute(_ALL_READY, given)])


_FIRE_ANY = (
    update(table(Join))
    .where(
        _J.step_id.in_(bindparam("b_ids", expanding=True)),
        _J.state == "open",
        _J.policy == "any",
    )
    .values(state="fired")
    .returning(_J.step_id)
)


def ring(connection: Connection, ids: Sequence[str], rules: Rules) -> Aftermath:
    """Fire those of these joins that wait for anything and are late; their members run on.

    Whoever calls has locked them. Thousands of flows may sleep until one moment.
    """
    if not ids:
        return Aftermath()
    late = list(connection.execute(_RING, {"b_ids": list(ids)}).scalars())
    locks.lock_steps(connection, late)
    return ready(connection, late, rules)


_RING = _FIRE_ANY.where(_J.deadline_at <= now() + EARLY_S)
_FIRE = (
    update(table(Join))
    .where(_J.step_id == bindparam("b_id"), _J.state == "open")
    .values(state="fired")
    .returning(_J.keep, _J.policy)
)
_WOKEN = (
    update(table(Step))
    .where(_S.state == State.WAITING)
    .values(
        state=State.READY,
        ready_at=now(),
        wake_at=now() + bindparam("b_grace", type_=_S.wake_at.type),
        wakes=0,
        attempts=0,  # a new round is progress: the cap is on attempts without any
    )
    .returning(*WAKE_COLUMNS)
)
_READY = _WOKEN.where(_S.id == bindparam("b_id"))
_ALL_READY = _WOKEN.where(_S.id.in_(bindparam("b_ids", expanding=True)))


def drop_members(connection: Connection, parent_ids: list[str], waiting_state: State) -> Aftermath:
    """End what hangs below these steps: waiting steps at once; running ones are asked to stop.

    Outcome and cost of the running ones come with their own finish.
    """
    found = Aftermath()
    while parent_ids:
        below = {"b_ids": parent_ids}
        locks.hold_still(connection, parent_ids)
        found.cancels += connection.execute(_STOP, below).scalars()
        _end_by(connection, _SKIP, below, waiting_state, found)
        parent_ids = _end_by(connection, _CANCEL, below, State.CANCELLED, found)
    return found


def _end_by(
    connection: Connection, ending: Any, which: dict[str, Any], state: State, found: Aftermath
) -> list[str]:
    """End steps by a statement, note them; returns their ids."""
    outcome = _outcome(state)
    rows = connection.execute(ending, {**which, **_ended(outcome)}).all()
    found.ended += [EndedStep(row.task, row.agent, outcome) for row in rows]
    return [row.id for row in rows]


def drop_some(
    connection: Connection, parent_id: str, run_id: str, keys: Sequence[str]
) -> Aftermath:
    """End some members of a step, as :func:`drop_members` all; whoever calls holds its join."""
    these = {"b_parent": parent_id, "b_keys": list(keys)}
    ids = list(connection.execute(_THESE, these).scalars())
    locks.lock(connection, ((member, run_id) for member in ids))
    locks.lock_steps(connection, ids)
    some = {"b_ids": ids}
    found = Aftermath(cancels=list(connection.execute(_STOP_SOME, some).scalars()))
    _end_by(connection, _SKIP_SOME, some, State.CANCELLED, found)
    waiting = _end_by(connection, _CANCEL_SOME, some, State.CANCELLED, found)
    found.add(drop_members(connection, waiting, State.CANCELLED))
    return found


_BELOW = _S.parent_id.in_(bindparam("b_ids", expanding=True))
_SOME = _S.id.in_(bindparam("b_ids", expanding=True))
_THESE = select(_S.id).where(
    _S.parent_id == bindparam("b_parent"),
    _S.member.in_(bindparam("b_keys", expanding=True)),
    _S.state.not_in(FINAL),
)


def _outcome(state: State) -> Outcome:
    """Return the outcome of a step that ends without having run to its end."""
    error = None if state is State.SKIPPED else ErrorInfo.of(StepCancelledError())
    return Outcome(state=state, error=error)


def _ended(outcome: Outcome) -> dict[str, Any]:
    return {"b_state": outcome.state, "b_outcome": outcome.compact()}


_ENDED = {
    _S.state: bindparam("b_state"),
    _S.outcome: bindparam("b_outcome", type_=_S.outcome.type),
    _S.finished_at: now(),
    _S.cancel_requested: True,
    _S.worker_id: None,
    _S.settled: True,
    _S.token: _S.token + 1,  # a claim of before ends nothing any more
}


def _stop(which: Any) -> Any:
    stopped = update(table(Step)).where(which, _S.state == State.RUNNING)
    return stopped.values(cancel_requested=True).returning(_S.id)


def _end(which: Any, state: State) -> Any:
    ended = update(table(Step)).where(which, _S.state == state)
    return ended.values(_ENDED).returning(_S.id, _S.task, _S.agent)


_STOP, _STOP_SOME = _stop(_BELOW), _stop(_SOME)
_SKIP, _SKIP_SOME = _end(_BELOW, State.READY), _end(_SOME, State.READY)
_CANCEL, _CANCEL_SOME = _end(_BELOW, State.WAITING), _end(_SOME, State.WAITING)
_END = update(table(Step)).where(_S.id == bindparam("b_id")).values(_ENDED)


def end_early(connection: Connection, step_id: str, state: State) -> Outcome:
    """End a step whatever state it is in; return its outcome."""
    outcome = _outcome(state)
    connection.execute(_END, {"b_id": step_id, **_ended(outcome)})
    return outcome


_R = table(Run).c
_END_RUN = (
    update(table(Run))
    .where(_R.id == bindparam("b_id"))
    .values(
        state=bindparam("b_state"),
        finished_at=now(),
        usage=bindparam("b_usage", type_=_R.usage.type),
    )
)


_FAIL_RUN = _END_RUN.returning(_R.compensable)


def end_runs(connection: Connection, ended: Sequence[tuple[str, State, Usage]]) -> list[str]:
    """Close the runs of these root steps; those that failed and have something to undo."""
    rows = [
        {"b_id": i, "b_state": state, "b_usage": usage.compact()}
        for i, state, usage in sorted(ended, key=lambda one: one[0])
    ]
    succeeded = [row for row in rows if row["b_state"] == State.SUCCEEDED]
    if succeeded:
        connection.execute(_END_RUN, succeeded)
    return [
        str(row["b_id"])
        for row in rows
        if row["b_state"] != State.SUCCEEDED and connection.execute(_FAIL_RUN, row).scalar()
    ]
