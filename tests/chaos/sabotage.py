"""Each scenario's protection, taken away: one that passes all the same would show nothing.

``./run chaos --sabotage`` starts the workers with one of these, and expects a broken promise.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import Column, Engine, create_engine, event, literal, or_, select
from sqlalchemy.sql import visitors

import app.factory
from agents.governance.budgets import Amount
from agents.plan import Expand
from agents.tools.running import Running
from app.admission.budgets.shared import SharedBudgets
from app.admission.covering import CoveringPolicies
from app.celeryconfig import celery_config
from app.execution import patience
from app.execution.calls.memory import SpaceMemory
from app.execution.runtime import Runtime
from app.journal.following import poison, runs
from app.journal.journal import Journal
from app.journal.queries import entries
from app.journal.schema import engine, locks, transactions
from app.journal.steps import claims, compensations, sessions
from app.journal.steps import entries as appending
from app.journal.stores.streams import StreamStore
from app.journal.tables import ticks, workers
from app.maintenance.recovery import Recovery
from app.messaging import transport


def plain_transport() -> None:
    """Messages are popped in one step and written to *unacked* in another, as by kombu."""
    _configure(broker_transport="redis")


def no_reconnecting() -> None:
    """A worker that loses its broker ends."""
    _configure(broker_connection_retry=False, broker_connection_max_retries=1)


def no_recovery() -> None:
    """Nobody looks for rows whose message was lost."""
    _put(Recovery, "sweep", lambda _: 0)


def no_memory() -> None:
    """A step that is claimed again knows nothing of its finished calls."""
    _put(Journal, "finished_calls", lambda *_: {})


def no_identity() -> None:
    """A call is another one in each claim of its step, under the same key."""
    plain = Journal.start_call

    def start_call(self: Any, claim: Any, *about: Any, **how: Any) -> Any:
        seq, name, identity, key = about
        return plain(self, claim, seq, name, f"{identity}@{claim.token}", key, **how)

    _put(Journal, "start_call", start_call)


def no_slots() -> None:
    """Limits cover nobody."""
    _put(CoveringPolicies, "of", lambda *_: {})


def no_reservations() -> None:
    """Money is counted when it is spent, and nothing is reserved before."""
    plain = SharedBudgets.asking

    def asking(self: SharedBudgets, who: str, accounts: Any, amount: Amount) -> Any:
        return plain(self, who, accounts, Amount(min(amount.nano_usd, 1), 0, 0))

    _put(SharedBudgets, "asking", asking)


def no_claims() -> None:
    """Have every message's receiver run it, whatever its row and its process say."""
    _keep_conditions(lambda condition: "id" in condition)
    plain = Runtime.__init__

    def __init__(self: Runtime, *args: Any) -> None:  # noqa: N807 - a method's
        plain(self, *args)
        self.active = _Forgetful(self.active)

    _put(Runtime, "__init__", __init__)


def no_patience() -> None:
    """A write that fails is not tried again, and no connection is tried before it is used."""
    _put(
        engine, "create_engine", lambda *a, **k: create_engine(*a, **(k | {"pool_pre_ping": False}))
    )
    _put(transactions, "_passes", lambda _: False)
    _put(patience, "JOURNAL_PATIENCE_S", 0.0)
    no_memory()


def no_cap() -> None:
    """Attempts are not bounded."""
    _keep_conditions(lambda condition: "attempts" not in condition)


def no_turns() -> None:
    """Each message of a schedule works."""
    _put(ticks, "take_slot", lambda *_: True)


def no_guard() -> None:
    """Messages are read as they come."""
    _put(transport, "read_envelope", lambda raw, _: json.loads(raw))


def long_leases() -> None:
    """Nobody takes over for half a minute, not even the same worker."""
    os.environ["AGENTS_LEASE_S"] = "30"
    _put(workers, "_still_runs", lambda *_: True)


def no_notes() -> None:
    """No run knows that something of it can be undone."""
    _put(compensations, "_note", lambda *_: [])


def no_once() -> None:
    """An effect that a dead worker began is made again, as other calls are."""
    plain = Journal.start_call

    def start_call(self: Any, *about: Any, **how: Any) -> Any:
        return plain(self, *about, **how | {"once": False})

    _put(Journal, "start_call", start_call)


def held_slots() -> None:
    """A step that waits for a person holds its slot."""
    plain = Running.answer

    async def answer(self: Running, *args: Any, **options: Any) -> Any:
        found = await plain(self, *args, **options)
        if isinstance(found, Expand):
            await asyncio.sleep(3600)
        return found

    _put(Running, "answer", answer)


def no_holders() -> None:
    """A run takes its session whoever holds it."""
    _put(sessions, "is_held", lambda *_: False)


def no_locks() -> None:
    """Joins are counted and fired by whoever comes, without a lock."""
    _put(locks, "lock", lambda _, wanted: {step_id for step_id, _ in wanted})


def loose_cursors() -> None:
    """A run has an id of its own each time, and one move of a cursor in three is forgotten."""
    _put(runs, "entry_run_id", lambda *_: str(uuid.uuid4()))
    plain, moves = poison.after_page, itertools.count()

    def after_page(connection: Any, row: Any, *page: Any, **how: Any) -> Any:
        values = plain(connection, row, *page, **how)
        return values if next(moves) % 3 else values | {"xid": row.xid, "pos": row.pos}

    _put(poison, "after_page", after_page)


def no_bound() -> None:
    """Followers read beyond transactions that are under way, of which some are slow."""
    plain = appending.append

    def append(*about: Any) -> Any:
        placed = plain(*about)
        time.sleep(random.choice([0.0, 0.0, 0.3]))
        return placed

    _put(sys.modules[StreamStore.__module__], "append", append)
    _put(sys.modules[StreamStore.__module__], "appended", lambda *_: None)  # all go that way
    ahead = select(*entries._PLACE).order_by(*(place.desc() for place in entries._PLACE)).limit(1)
    _put(entries, "_TOP", ahead)


def eager_cursors() -> None:
    """A page is done as soon as it was read."""
    plain = StreamStore.follow

    def follow(self: StreamStore, tenant: str, cursor: str, *page: Any, **how: Any) -> Any:
        found, last = plain(self, tenant, cursor, *page, **how)
        self._move(tenant, cursor, last)
        return found, last

    _put(StreamStore, "follow", follow)


def eager_memories() -> None:
    """Let all that a step remembers be everybody's at once, under an id of its own."""
    plain = SpaceMemory.remember

    def remember(self: Any, *about: Any, **how: Any) -> str:
        known = plain(self, *about, **how)
        new = replace(self._step.learned.pop(known), id=str(uuid.uuid4()))
        self._step.runtime.journal.memories.keep([new])
        return str(new.id)

    _put(SpaceMemory, "remember", remember)


def own_clocks() -> None:
    """Leases go by each worker's own clock (on SQLite, whose statements ask the machine's)."""

    @event.listens_for(Engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.create_function("julianday", 1, lambda _: time.time() / 86400 + 2440587.5)


#: What each scenario cannot do without.
WITHOUT: dict[str, Callable[[], None]] = {
    "load": no_memory,
    "takeover": long_leases,
    "takeover-restarted": long_leases,
    "redis-killed": no_reconnecting,
    "redis-frozen": no_claims,
    "redis-full": no_recovery,
    "redis-emptied": no_reconnecting,
    "postgres-restarted": no_memory,
    "postgres-cut": no_patience,
    "sqlite-locked": no_patience,
    "gap": plain_transport,
    "duplicated": no_claims,
    "redelivered": no_claims,
    "messages-deleted": no_recovery,
    "long-step": no_claims,
    "malformed": no_guard,
    "beats": no_turns,
    "memory-hog": no_cap,
    "clock-off": own_clocks,
    "undone": no_notes,
    "flows": no_recovery,
    "events": loose_cursors,
    "followers": no_bound,
    "topics": eager_cursors,
    "swarm": no_recovery,
    "actors": no_recovery,
    "session": no_holders,
    "teams": no_identity,
    "approvals": no_once,
    "waiting": held_slots,
    "slots": no_slots,
    "budget": no_reservations,
    "memory": eager_memories,
    "races": no_locks,
}


class _Forgetful(dict[str, Any]):
    """The active steps of a process, none of which is known when its message comes again."""

    def setdefault(self, key: str, default: Any = None) -> Any:
        self[key] = default
        return default


def _put(place: Any, name: str, value: Any) -> None:
    assert hasattr(place, name), f"{name} is no longer there"
    setattr(place, name, value)


def _configure(**changes: Any) -> None:
    """Other settings of Celery."""
    _put(app.factory, "celery_config", lambda settings: celery_config(settings) | changes)


def _keep_conditions(keep: Callable[[set[str]], bool]) -> None:
    """Claim rows that stand in the journal under some of the conditions, by their columns."""
    for dialect, take in claims._TAKES.items():
        weaker: Any = take.where()
        weaker._where_criteria = tuple(
            c if keep(_columns(c)) else or_(c, literal(1) == 1) for c in take._where_criteria
        )
        assert sum(keep(_columns(c)) for c in take._where_criteria) < len(take._where_criteria)
        claims._TAKES[dialect] = weaker


def _columns(condition: Any) -> set[str]:
    """Columns of steps that a condition is about."""
    found = visitors.iterate(condition)
    return {e.name for e in found if isinstance(e, Column) and e.table.name == "steps"}
