"""Deleting what is old, in portions that hold no lock for long.

What is to go is looked for without a lock, then deleted by its keys under a time limit. Bounded
deletes on PostgreSQL too, and no partitions by month: those would need the month in every primary
key, and each claim, which knows an id alone, would have to look into all of them.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Table, case, delete, func, or_, select

from app.journal.memory.keeping import OVER
from app.journal.paging.unclaimed import unclaimed
from app.journal.retention.chunks import Pace, delete_portion
from app.journal.schema.engine import now, reading
from app.journal.schema.models import (
    ApiKey,
    AuditEntry,
    Base,
    Call,
    DeadLetter,
    Entry,
    Health,
    Join,
    MemoryRow,
    MemorySpace,
    Run,
    ScheduleRow,
    Slot,
    Spend,
    Stat,
    Step,
    Worker,
)
from app.journal.schema.transactions import in_transaction
from app.journal.steps.remains import OF_RUNS, goes_with_run
from app.journal.steps.spending import book_doubts
from app.journal.tables.audit import erase, is_old
from celery_agents.contracts.outcome import State

_DAY_S = 86_400.0
#: Keys of the API that were revoked, or whose time is over, are listed for so long.
KEYS_S = 90 * _DAY_S
#: Memories that are over, as others took their place or their room, can be exported for so long.
MEMORIES_S = 30 * _DAY_S
#: Targets that nobody looks at any more, workers that are gone, turns and schedules that are over.
LEFTOVERS_S = 2 * _DAY_S
#: A window's sums go as long after its end as it lasted, after two days at the least: until then
#: calls that began in it may end, and people look. Of those that do not say when they end, the
#: longest has ten years.
SPEND_S, ENDLESS_S = 2 * _DAY_S, 11 * 366 * _DAY_S
#: Under which it is told of how many entries of the audit the data are erased.
_DATA = "audit data"
#: Statistics by minute and by hour are kept so long: closely for what happens now, and for a year's
#: comparison. An hour of 40 agents takes some 200 kB.
STATS_S = {60: 2 * _DAY_S, 3_600: 90 * _DAY_S}


@dataclass(frozen=True, slots=True)
class Retention:
    """How many days runs are kept after their end, and dead letters after they came."""

    succeeded_days: float
    others_days: float
    dead_letters_days: float
    audit_days: float = 365.0

    def is_over(self) -> ColumnElement[bool]:
        """Runs that are to go. The oldest creation bounds the search, which is by that index.

        One of which a step is open (it is being undone), or which recovery tries to settle (its
        result is not stored, since Redis is away), is kept.
        """
        ended = now() - Run.finished_at
        shortest = min(self.succeeded_days, self.others_days)
        unsettled = Step.settled.is_(False) & ((Step.wakes > 0) | Step.finished_at.is_(None))
        # Of each run by its index: as an EXISTS it may be joined with the whole of both tables.
        theirs = select(Step.id).where(Step.run_id == Run.id, unsettled).limit(1)
        is_quiet = theirs.correlate(Run).scalar_subquery().is_(None)
        return (
            (Run.created_at < now() - shortest * _DAY_S)
            & or_(
                (Run.state == State.SUCCEEDED) & (ended > self.succeeded_days * _DAY_S),
                (Run.state != State.SUCCEEDED) & (ended > self.others_days * _DAY_S),
            )
            & is_quiet
        )

    def is_forgotten(self) -> ColumnElement[bool]:
        """Dead letters that are to go."""
        return DeadLetter.at < now() - self.dead_letters_days * _DAY_S


def clean_journal(
    engine: Engine,
    retention: Retention,
    *,
    batch: int,
    lock_s: float = 0.1,
    limit_s: float = 600.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Counter[str]:
    """Delete what is over; returns rows by table. What is left after ``limit_s`` comes next time.

    A run goes with its root first, so that nobody can requeue what is half gone; then its other
    steps (calls and joins go with them), then what else knows it, at last itself. So whatever ends
    this half way, the next time finds the rest.
    """
    paces, gone = defaultdict[str, Pace](lambda: Pace(batch, lock_s)), Counter[str]()
    aside: set[str] = set()  # runs that somebody is just changing
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        found = in_transaction(reading(engine), lambda c: _next(c, retention, paces, aside))
        if found is None:
            break
        table, keys, runs = found
        portion = delete_portion(
            engine, table, keys, lock_s, partial(_still_over, table, keys, retention)
        )
        paces[table.name].took(portion.held_s, len(keys), cut_off=portion.cut_off)
        gone[table.name] += portion.deleted
        if not (portion.deleted or portion.cut_off):
            aside.update(runs)
        sleep(portion.held_s)  # others write in between: SQLite's writers queue without an order
    gone += in_transaction(engine, _leftovers)
    while (erased := in_transaction(engine, partial(erase, days=retention.audit_days))) > 0:
        gone[_DATA] += erased
    if engine.dialect.name == "sqlite":
        _checkpoint(engine)
    return +gone


def what_would_go(connection: Connection, retention: Retention) -> Counter[str]:
    """Rows by table that cleaning would delete now."""
    runs = select(Run.id).where(retention.is_over())
    steps = select(Step.id).where(Step.run_id.in_(runs))
    counted: list[tuple[Any, ColumnElement[bool]]] = [
        (Run.__table__, retention.is_over()),
        (Step.__table__, Step.run_id.in_(runs)),
        (Call.__table__, Call.step_id.in_(steps)),
        (Join.__table__, Join.step_id.in_(steps)),
        (DeadLetter.__table__, retention.is_forgotten()),
        *((held, held.c.run_id.in_(runs) & goes_with_run(held)) for held in OF_RUNS),
        *_old(),
    ]
    found = Counter[str]()
    for table, which in counted:
        query = select(func.count()).select_from(table).where(which)
        found[table.name] += connection.execute(query).scalar_one()
    data = select(func.count()).select_from(AuditEntry).where(is_old(retention.audit_days))
    found[_DATA] = connection.execute(data).scalar_one()
    return +found


def _next(
    connection: Connection, retention: Retention, paces: Mapping[str, Pace], aside: set[str]
) -> tuple[Table, list[Any], list[str]] | None:
    """A table and keys of rows that are to go, as many as its pace allows; None when none are.

    With the runs that were looked at; those set ``aside`` are not.
    """
    some = paces[Run.__tablename__].size
    over = retention.is_over() & Run.id.not_in(aside) if aside else retention.is_over()
    runs = select(Run.id).where(over).order_by(Run.created_at).limit(some)
    ids = list(connection.execute(runs).scalars())
    tables: list[Any] = [Step.__table__, *OF_RUNS] if ids else []
    for table in tables:
        (key,) = table.primary_key
        theirs = (
            select(key)
            .where(table.c.run_id.in_(ids), goes_with_run(table))
            .limit(paces[table.name].size)
        )
        if table is Step.__table__:
            theirs = theirs.order_by(Step.parent_id.is_not(None))
        if keys := list(connection.execute(theirs).scalars()):
            return table, keys, ids
    if ids:
        return _table(Run), ids, ids
    some = paces[DeadLetter.__tablename__].size
    letters = select(DeadLetter.id).where(retention.is_forgotten()).limit(some)
    keys = list(connection.execute(letters).scalars())
    return (_table(DeadLetter), keys, []) if keys else None


def _still_over(
    table: Table, keys: list[Any], retention: Retention, connection: Connection
) -> ColumnElement[bool]:
    """Return the condition checked again at the deletion: a run may be under way again by then.

    Its row is held first, and looked at by the next statement: that sees all that was committed
    by whoever had the row before. In one statement both could be of different times.
    """
    if table is DeadLetter.__table__:
        return retention.is_forgotten()
    if table is Run.__table__:
        return retention.is_over()
    (key,) = table.primary_key
    theirs = select(Run.id).where(Run.id.in_(select(table.c.run_id).where(key.in_(keys))))
    held = list(connection.execute(theirs.with_for_update(skip_locked=True)).scalars())
    if table is Step.__table__ and held:
        over = select(Run.id).where(Run.id.in_(held), retention.is_over())
        book_doubts(connection, key.in_(keys) & table.c.run_id.in_(over), uuid.uuid4().hex)
    return table.c.run_id.in_(select(Run.id).where(Run.id.in_(held), retention.is_over()))


def _leftovers(connection: Connection) -> Counter[str]:
    gone = Counter[str]()
    for table, which in _old():
        gone[table.name] += connection.execute(delete(table).where(which)).rowcount
    return +gone


def _old() -> list[tuple[Any, ColumnElement[bool]]]:
    """Small tables' rows that nobody needs any more."""
    holding = select(Step.worker_id).where(Step.state == State.RUNNING, Step.worker_id.is_not(None))
    long_ago = now() - LEFTOVERS_S
    over = now() - KEYS_S
    stats = [
        (Stat.grain_s == grain_s) & (Stat.starts_at < now() - kept_s)
        for grain_s, kept_s in STATS_S.items()
    ]
    return [
        *((Entry.__table__, which) for which in unclaimed()),
        (ApiKey.__table__, or_(ApiKey.revoked_at < over, ApiKey.expires_at < over)),
        (Health.__table__, Health.checked_at < long_ago),
        (MemoryRow.__table__, (MemoryRow.state == OVER) & (MemoryRow.until < now() - MEMORIES_S)),
        (MemorySpace.__table__, _is_empty() & (MemorySpace.changed_at < long_ago)),
        (ScheduleRow.__table__, _has_no_slot() & (ScheduleRow.changed_at < long_ago)),
        (Slot.__table__, Slot.taken_at < long_ago),
        (Spend.__table__, _is_over()),
        (Stat.__table__, or_(*stats)),
        (Worker.__table__, (Worker.lease_until < long_ago) & Worker.id.not_in(holding)),
    ]


def _is_empty() -> ColumnElement[bool]:
    """Spaces that have nothing any more, not even of runs under way."""
    theirs = select(MemoryRow.id).where(MemoryRow.space_id == MemorySpace.id).exists()
    return (MemorySpace.memories == 0) & ~theirs


def _has_no_slot() -> ColumnElement[bool]:
    """Schedules that never start anything any more: their one slot is over."""
    return ScheduleRow.next_at.is_(None) & ScheduleRow.look_at.is_(None) & ~ScheduleRow.paused


def _is_over() -> ColumnElement[bool]:
    """Sums of budgets' windows that nobody needs any more."""
    lasted = Spend.ends_at - Spend.starts_at
    kept = case((lasted > SPEND_S, lasted), else_=SPEND_S)
    untold = Spend.ends_at.is_(None) & (Spend.starts_at > 0)
    return (Spend.ends_at < now() - kept) | (untold & (Spend.starts_at < now() - ENDLESS_S))


def _table(model: type[Base]) -> Table:
    table = model.__table__
    assert isinstance(table, Table)
    return table


def _checkpoint(engine: Engine) -> None:
    """Move the log into the file without waiting for anybody.

    Freed pages are used again, so the file does not grow; :func:`vacuum` makes it smaller.
    """
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def vacuum(engine: Engine) -> None:
    """Give freed room back. On SQLite it stops all writers meanwhile, so only by command."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        if engine.dialect.name == "sqlite":
            raw.execute("VACUUM")
        else:
            with raw.cursor() as cursor:
                cursor.execute("VACUUM (ANALYZE)")
