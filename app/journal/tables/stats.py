"""Statistics of steps by minute and by hour, counted from the rows of runs that have ended.

A run is counted once, when all its steps have ended: found in the order in which runs began, behind
a cursor, or among those that were open when the cursor passed them. So nothing is written while
steps run, whatever a worker's end loses is counted all the same, and what SQL ended is too.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from agents.policies.sketch import Summary, read_buckets
from app.journal.schema.heads import HEAD_OF_OUTCOME, OUTCOME_WITHOUT_VALUE
from app.journal.schema.heads import read as read_head
from app.journal.schema.models import Stat, Step, Uncounted
from app.journal.schema.upsert import insert_of
from app.journal.tables.ended import EndedRuns, Passing
from celery_agents.contracts.outcome import Usage

#: Seconds of a row: of minutes for what is looked at closely, of hours for months.
GRAINS_S = (60, 3_600)
#: Seconds after which every run that began has its row: its commit is over.
GRACE_S = 10.0
#: Rows that are held at once where many are read.
_AT_ONCE = 500
_PASSING = Passing("stats", Uncounted)


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


class StatsPortion(NamedTuple):
    """Runs that can be counted now, and what their steps come to."""

    ended: EndedRuns
    counted: Mapping[Key, Counted]

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to write."""
        return self.ended.is_empty


def portion(connection: Connection, limit: int) -> StatsPortion:
    """Read what can be counted now, of so many new runs and so many that were open."""
    ended = _PASSING.look(connection, limit, GRACE_S)
    return StatsPortion(ended, _counted(connection, ended.run_ids))


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
    if not _PASSING.store(connection, told.ended):
        return False
    _add(connection, told.counted)
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


def _read(rows: Iterable[Any]) -> Iterator[tuple[Key, Counted]]:
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
) -> Iterator[tuple[Key, Counted]]:
    """The rows whose time begins in a window, a few at a time: a month of many agents is large."""
    query = select(Stat.__table__).where(
        Stat.grain_s == grain_s, Stat.starts_at >= since, Stat.starts_at < until
    )
    if agent is not None:
        query = query.where(Stat.agent == agent)
    if tenant is not None:
        query = query.where(Stat.tenant == tenant)
    return _read(connection.execute(query, execution_options={"yield_per": _AT_ONCE}))


def counted_until(connection: Connection) -> float:
    """The time up to which every run that began is counted, or known to be open."""
    return _PASSING.reached(connection)
