"""Schedules: kept by people, and dispatched: their slots become runs.

A slot's run and the schedule's next slot are one transaction, under the lock of the schedule's row,
which comes before all others. So whoever dispatches, and whenever it dies, each slot is started
once; the run's id follows from the slot, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, select, update

from agents.schedules.decide import Dispatch, ScheduleState, dispatch
from agents.schedules.slots import first_slot, next_slot
from app.journal.schema.engine import read_clock
from app.journal.schema.models import Run, ScheduleRow, table
from app.journal.schema.new_steps import row_of
from app.journal.schema.rows import NewStep, Wake, slot_id
from app.journal.schema.sealed import opened_target, sealed_by, sealed_step, sealed_target
from app.journal.schema.upsert import insert_new
from app.journal.steps.inserts import insert_steps
from celery_agents.contracts.flows.schedules import ScheduledRun, ScheduleRule
from celery_agents.errors import AgentsError, InvalidPayloadError
from celery_agents.sealing import readable

_T = table(ScheduleRow).c
_R = table(Run).c
#: A schedule whose slot cannot be started is looked at again after so long.
RETRY_S = 60.0
#: Runs that a schedule remembers.
KEPT_MAX = 20
#: Columns that a slot which cannot be started leaves as they are.
_KEPT = ("next_at", "waiting", "runs", "skipped")
#: Makes the row of a run of what a schedule starts, under an id, for a tenant.
Make = Callable[[ScheduledRun, str, str], NewStep]


class ScheduleKey(NamedTuple):
    """A schedule's tenant and name."""

    tenant: str
    name: str

    @property
    def place(self) -> str:
        """The place to which its encrypted payload belongs."""
        return f"schedule/{self.tenant}\x1f{self.name}"


@dataclass(slots=True)
class Dispatched:
    """The outcome of a look at the schedules that were due."""

    looked: int = 0
    wakes: list[Wake] = field(default_factory=list)
    #: Runs that are to be cancelled.
    cancels: list[str] = field(default_factory=list)
    #: Schedules whose slot could not be started, with why.
    failed: list[tuple[ScheduleKey, AgentsError]] = field(default_factory=list)


def put(
    connection: Connection, key: ScheduleKey, rule: ScheduleRule, target: ScheduledRun, at: float
) -> None:
    """Make a schedule, or change it; one whose slots stay the same keeps its place among them.

    Raises:
        InvalidPayloadError: the rule's expression or zone is none, or it has no slot.
    """
    first = first_slot(rule, at)
    sealed = sealed_target(sealed_by(connection), target.model_dump(mode="json"), key.place)
    told = {"rule": rule.compact(), "target": sealed, "error": None, "changed_at": at}
    anew = {"begins_at": at, "next_at": first, "waiting": {"slots": []}}
    empty = {"paused": False, "runs": {"runs": []}, "skipped": 0}
    made = insert_new(connection, ScheduleRow).values(
        **key._asdict(), **told, **anew, **empty, look_at=first
    )
    while not connection.execute(made).rowcount:
        if (row := _held(connection, key)) is None:  # it was deleted just now
            continue
        before = ScheduleRule.model_validate(row.rule)
        if before.timing == rule.timing:
            keeps = before.overlap == rule.overlap
            slots = row.waiting if keeps else anew["waiting"]
            anew = {"begins_at": row.begins_at, "next_at": row.next_at, "waiting": slots}
        _write(connection, key, at, told | anew, paused=row.paused)
        return


def pause(connection: Connection, key: ScheduleKey, at: float) -> None:
    """Let a schedule start nothing. Raises as :func:`trigger`."""
    row = _known(connection, key)
    about = {"next_at": row.next_at, "waiting": row.waiting}
    _write(connection, key, at, about, paused=True)


def resume(connection: Connection, key: ScheduleKey, at: float) -> None:
    """Let a schedule that was paused go on; slots of the pause are passed over.

    Raises:
        InvalidPayloadError: there is none of that name, or its rule cannot be read.
    """
    row = _known(connection, key)
    if not row.paused:
        return
    next_at = row.next_at
    if next_at is not None and next_at <= at:
        next_at = next_slot(ScheduleRule.read(row.rule), at, row.begins_at)
    about = {"next_at": next_at, "waiting": row.waiting}
    _write(connection, key, at, about, paused=False)


def remove(connection: Connection, key: ScheduleKey) -> bool:
    """Delete a schedule; its runs stay. Returns whether there was one."""
    return bool(connection.execute(delete(table(ScheduleRow)).where(_is(key))).rowcount)


def trigger(
    connection: Connection, key: ScheduleKey, run_id: str, make: Make, wake_grace_s: float
) -> Wake | None:
    """Start a run of a schedule now, beside its slots; None: there is one of this id already.

    Raises:
        InvalidPayloadError: there is none of that name, or its run cannot be made.
    """
    row = _known(connection, key)
    at = read_clock(connection)
    target = _target(connection, key, row)
    step = sealed_step(sealed_by(connection), make(target, run_id, key.tenant))
    if not insert_steps(connection, [row_of(step, at, wake_grace_s)]):
        return None
    runs = {"runs": [*row.runs["runs"], [at, run_id]][-KEPT_MAX:]}
    connection.execute(update(table(ScheduleRow)).where(_is(key)).values(runs=runs))
    return step.wake()


_ANY = select(_T.name).where(_T.look_at <= bindparam("at")).limit(1)


def is_due(connection: Connection, at: float) -> bool:
    """Return whether a schedule has something to do."""
    return connection.execute(_ANY, {"at": at}).first() is not None


def dispatch_due(
    connection: Connection, at: float, limit: int, make: Make, wake_grace_s: float
) -> Dispatched:
    """Start what is due of so many schedules; those that another one holds are its."""
    due = select(*_T).where(_T.look_at <= at).order_by(_T.look_at).limit(limit)
    rows = connection.execute(due.with_for_update(skip_locked=True)).all()
    result = Dispatched(looked=len(rows))
    under_way = _under_way(connection, (run_id for r in rows for _, run_id in r.runs["runs"]))
    steps: list[NewStep] = []
    changes: list[dict[str, Any]] = []
    for row in rows:
        key = ScheduleKey(row.tenant, row.name)
        mine = [run_id for _, run_id in row.runs["runs"] if run_id in under_way]
        try:
            found = _decided(row, at, under_way=bool(mine))
            steps += _started(connection, key, row, found, make)
        except AgentsError as error:
            result.failed.append((key, error))
            changes.append(_same(row, at, error))
            continue
        result.cancels += mine if found.cancels else []
        changes.append(_moved(row, key, found, at))
    now = read_clock(connection)
    made = insert_steps(connection, [row_of(s, now, wake_grace_s) for s in steps]) if steps else ()
    result.wakes = [step.wake() for step in steps if step.id in made]
    if changes:
        connection.execute(_MOVE, changes)
    return result


def listed(connection: Connection, tenant: str, name: str | None, limit: int) -> list[Any]:
    """Schedules of a tenant in the order of their names, or the one of a name, for people."""
    found = select(*_T).where(_T.tenant == tenant).order_by(_T.name).limit(limit)
    if name is not None:
        found = found.where(_T.name == name)
    return [_shown(connection, row) for row in connection.execute(found)]


def target_of(connection: Connection, key: ScheduleKey) -> ScheduledRun | None:
    """The run that a schedule starts, with what it is asked; None: there is no such schedule."""
    row = connection.execute(select(_T.target).where(_is(key))).first()
    return None if row is None else _target(connection, key, row)


def _target(connection: Connection, key: ScheduleKey, row: Any) -> ScheduledRun:
    return ScheduledRun.read(opened_target(sealed_by(connection), row.target, key.place))


def _decided(row: Any, at: float, *, under_way: bool) -> Dispatch:
    state = ScheduleState(row.next_at, row.begins_at, row.waiting["slots"])
    return dispatch(ScheduleRule.read(row.rule), state, at, under_way=under_way)


def _started(
    connection: Connection, key: ScheduleKey, row: Any, found: Dispatch, make: Make
) -> list[NewStep]:
    """The rows of the runs that slots start."""
    if not found.starts:
        return []
    seals, target = sealed_by(connection), _target(connection, key, row)
    ids = [slot_id(*key, slot) for slot in found.starts]
    return [sealed_step(seals, make(target, run_id, key.tenant)) for run_id in ids]


def _moved(row: Any, key: ScheduleKey, found: Dispatch, at: float) -> dict[str, Any]:
    started = [[slot, slot_id(*key, slot)] for slot in found.starts]
    return {
        "b_tenant": key.tenant,
        "b_name": key.name,
        "next_at": found.next_at,
        "look_at": at if found.queued else found.next_at,
        "waiting": {"slots": [*found.queued]},
        "runs": {"runs": [*row.runs["runs"], *started][-KEPT_MAX:]},
        "skipped": row.skipped + found.skipped,
        "error": None,
        "changed_at": at,
    }


def _same(row: Any, at: float, error: AgentsError) -> dict[str, Any]:
    """A schedule as it stood, that is looked at again later."""
    return {
        "b_tenant": row.tenant,
        "b_name": row.name,
        **{name: getattr(row, name) for name in _KEPT},
        "look_at": at + RETRY_S,
        "error": error.message,
        "changed_at": at,
    }


def _under_way(connection: Connection, run_ids: Iterable[str]) -> set[str]:
    ids = [*run_ids]
    found = select(_R.id).where(_R.id.in_(ids), _R.finished_at.is_(None))
    return set(connection.execute(found).scalars()) if ids else set()


def _is(key: ScheduleKey) -> Any:
    return (_T.tenant == key.tenant) & (_T.name == key.name)


def _held(connection: Connection, key: ScheduleKey) -> Any:
    return connection.execute(select(*_T).where(_is(key)).with_for_update()).first()


def _known(connection: Connection, key: ScheduleKey) -> Any:
    if (row := _held(connection, key)) is None:
        raise InvalidPayloadError(f"There is no schedule {key.name}.")
    return row


def _write(
    connection: Connection, key: ScheduleKey, at: float, about: dict[str, Any], *, paused: bool
) -> None:
    look_at = at if about["waiting"]["slots"] else about["next_at"]
    values = {**about, "paused": paused, "look_at": None if paused else look_at, "changed_at": at}
    connection.execute(update(table(ScheduleRow)).where(_is(key)).values(values))


def _shown(connection: Connection, row: Any) -> dict[str, Any]:
    key = ScheduleKey(row.tenant, row.name)
    target = readable(lambda: opened_target(sealed_by(connection), row.target, key.place))
    options = (target if isinstance(target, dict) else row.target)["kwargs"]
    runs: Sequence[Any] = row.runs["runs"]
    return {
        **key._asdict(),
        "rule": row.rule,
        "task": row.target["task"],
        "of": options.get("agent") or options.get("flow"),
        "paused": row.paused,
        "next_at": row.next_at,
        "queued": row.waiting["slots"],
        "runs": [{"at": at, "run_id": run_id} for at, run_id in reversed(runs)],
        "skipped": row.skipped,
        "error": row.error,
    }


_MOVE = (
    update(table(ScheduleRow))
    .where(_T.tenant == bindparam("b_tenant"), _T.name == bindparam("b_name"))
    .values({name: bindparam(name) for name in (*_KEPT, "look_at", "error", "changed_at")})
)
