"""Statistics of steps by minute and by hour, counted from the rows of runs that have ended.

A run is counted once, when all its steps have ended: found in the order in which runs began, behind
a cursor, or among those that were open when the cursor passed them. So nothing is written while
steps run, whatever a worker's end loses is counted all the same, and what SQL ended is too.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, exists, insert, or_, select, update

from agents.policies.sketch import Summary, read_buckets
from app.journal.schema.engine import now
from app.journal.schema.heads import HEAD_OF_OUTCOME, OUTCOME_WITHOUT_VALUE
from app.journal.schema.heads import read as read_head
from app.journal.schema.models import Memo, Run, Stat, Step, Uncounted
from app.journal.schema.upsert import insert_new, insert_of
from celery_agents.contracts.outcome import Usage

#: Seconds of a row: of minutes for what is looked at closely, of hours for months.
GRAINS_S = (60, 3_600)
#: Seconds after which every run that began has its row: its commit is over.
GRACE_S = 10.0
_CURSOR = "stats"


class Key(NamedTuple):
    """The row of some steps: those of a state that ended within its time."""

    grain_s: int
    starts_at: int
    tenant: str
    agent: str
    state: str


@dataclass(slots=True)
class Counted:
    """Some steps in numbers. Those that never began have no duration."""

    steps: int = 0
    usage: Usage = field(default_factory=Usage)
    durations: Summary = field(default_factory=Summary)
    errors: Counter[str] = field(default_factory=Counter)

    def add(self, other: Counted) -> None:
        """Count all of another one's steps."""
        self.steps += other.steps
        self.usage += other.usage
        self.durations.add(other.durations)
        self.errors.update(other.errors)


class Place(NamedTuple):
    """A place in the order in which runs began."""

    at: float
    run_id: str


class Cursor(NamedTuple):
    """The place up to which runs were looked at, and how often something was counted."""

    place: Place
    turn: int


@dataclass(frozen=True, slots=True)
class StatsPortion:
    """Runs that can be counted now, what their steps come to, and where the cursor goes."""

    seen: Cursor
    place: Place
    #: Of those that were open: these are over now.
    over: Sequence[str]
    opened: Sequence[str]
    counted: Mapping[Key, Counted]

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to write."""
        return self.seen.place == self.place and not self.over


def portion(connection: Connection, limit: int) -> StatsPortion:
    """Read what can be counted now, of so many new runs and so many that were open."""
    seen = _cursor(connection)
    after, run_id = seen.place
    new = connection.execute(
        select(Run.id, Run.created_at)
        .where(Run.created_at >= after, Run.created_at <= now() - GRACE_S)
        .where(or_(Run.created_at > after, Run.id > run_id))
        .order_by(Run.created_at, Run.id)
        .limit(limit)
    ).all()
    waiting = select(Uncounted.run_id).join(Run, Run.id == Uncounted.run_id)
    ended = waiting.where(Run.finished_at.is_not(None)).limit(limit)
    old = list(connection.execute(ended).scalars())
    ids = [row.id for row in new]
    settled = _ended(connection, [*ids, *old])
    return StatsPortion(
        seen=seen,
        place=Place(new[-1].created_at, new[-1].id) if new else seen.place,
        over=[i for i in old if i in settled],
        opened=[i for i in ids if i not in settled],
        counted=_counted(connection, [i for i in [*ids, *old] if i in settled]),
    )


def _cursor(connection: Connection, *, held: bool = False) -> Cursor:
    query = select(Memo.data).where(Memo.key == _CURSOR)
    data = connection.execute(query.with_for_update() if held else query).scalar()
    return Cursor(Place(*data["place"]), data["turn"]) if data else Cursor(Place(0.0, ""), 0)


def _ended(connection: Connection, run_ids: Sequence[str]) -> set[str]:
    """Return those of which every step has ended."""
    moving = exists().where(Step.run_id == Run.id, Step.finished_at.is_(None))
    query = select(Run.id).where(Run.id.in_(run_ids), Run.finished_at.is_not(None), ~moving)
    return set(connection.execute(query).scalars()) if run_ids else set()


def _counted(connection: Connection, run_ids: Sequence[str]) -> dict[Key, Counted]:
    found: dict[Key, Counted] = defaultdict(Counted)
    if not run_ids:
        return found
    rows = connection.execute(
        select(
            *(Step.tenant, Step.agent, Step.task, Step.state, Step.started_at, Step.finished_at),
            HEAD_OF_OUTCOME.label("head"),
            OUTCOME_WITHOUT_VALUE.label("failure"),
        ).where(Step.run_id.in_(run_ids))
    )
    for row in rows:
        one = _one(row)
        name = row.agent or row.task
        for grain_s in GRAINS_S:
            starts_at = int(row.finished_at // grain_s) * grain_s
            found[Key(grain_s, starts_at, row.tenant, name, row.state)].add(one)
    return found


def _one(row: Any) -> Counted:
    failure = json.loads(row.failure) if row.failure else {}
    # Of a pattern the cost is that of its members, which are counted themselves.
    told = read_head(row.head or "").get("usage") if row.agent is not None else None
    took = [] if row.started_at is None else [row.finished_at - row.started_at]
    error = failure.get("error")
    return Counted(
        1,
        Usage.model_validate(told) if told else Usage(),
        Summary.of(took),
        Counter([error["kind"]] if error else []),
    )


def store(connection: Connection, told: StatsPortion) -> bool:
    """Write a portion; False where somebody else has counted meanwhile, and nothing is written."""
    first = insert_new(connection, Memo).values(key=_CURSOR, data={}, changed_at=now())
    connection.execute(first)
    if _cursor(connection, held=True) != told.seen:
        return False
    connection.execute(delete(Uncounted).where(Uncounted.run_id.in_(told.over)))
    if told.opened:
        rows = [{"run_id": run_id} for run_id in told.opened]
        connection.execute(insert(Uncounted), rows)
    _add(connection, told.counted)
    data = {"place": [*told.place], "turn": told.seen.turn + 1}
    connection.execute(update(Memo).where(Memo.key == _CURSOR).values(data=data, changed_at=now()))
    return True


def _add(connection: Connection, counted: Mapping[Key, Counted]) -> None:
    if not counted:
        return
    times = {key.starts_at for key in counted}
    rows = connection.execute(select(Stat.__table__).where(Stat.starts_at.in_(times)))
    whole = {key: known for key, known in _read(rows) if key in counted}
    for key, more in counted.items():
        whole.setdefault(key, Counted()).add(more)
    table = insert_of(connection.dialect.name, Stat)
    values = {name: table.excluded[name] for name in _NUMBERS}
    written = table.on_conflict_do_update(index_elements=list(Key._fields), set_=values)
    connection.execute(written, [_row(key, numbers) for key, numbers in whole.items()])


def _row(key: Key, counted: Counted) -> dict[str, Any]:
    took = counted.durations
    return {
        **key._asdict(),
        "steps": counted.steps,
        "timed": took.count,
        "sum_s": took.sum_s,
        "sum_squares_s2": took.sum_squares_s2,
        "min_s": took.min_s if took.count else None,
        "max_s": took.max_s if took.count else None,
        "buckets": took.stored(),
        "errors": dict(counted.errors),
        "usage": counted.usage.compact(),
    }


_NUMBERS = tuple({column.name for column in Stat.__table__.columns} - {*Key._fields})


def _read(rows: Iterable[Any]) -> Iterable[tuple[Key, Counted]]:
    for row in rows:
        took = Summary(row.timed, row.sum_s, row.sum_squares_s2)
        took.buckets = read_buckets(row.buckets)
        if row.timed:
            took.min_s, took.max_s = row.min_s, row.max_s
        key = Key(row.grain_s, row.starts_at, row.tenant, row.agent, row.state)
        yield key, Counted(row.steps, Usage.model_validate(row.usage), took, Counter(row.errors))


def within(
    connection: Connection,
    grain_s: int,
    since: float,
    until: float,
    *,
    agent: str | None = None,
    tenant: str | None = None,
) -> list[tuple[Key, Counted]]:
    """The rows whose time begins in a window."""
    query = select(Stat.__table__).where(
        Stat.grain_s == grain_s, Stat.starts_at >= since, Stat.starts_at < until
    )
    if agent is not None:
        query = query.where(Stat.agent == agent)
    if tenant is not None:
        query = query.where(Stat.tenant == tenant)
    return list(_read(connection.execute(query)))


def counted_until(connection: Connection) -> float:
    """The time up to which every run that began is counted, or known to be open."""
    return _cursor(connection).place.at
