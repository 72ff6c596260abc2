"""Statistics: counted from rows that are there anyway, and read without them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection, Engine

from app.journal.schema.engine import read_clock, reading
from app.journal.schema.transactions import in_transaction
from app.journal.tables import stats
from app.journal.tables.stats import Counted, Key
from celery_agents.contracts.outcome import State, Usage
from celery_agents.contracts.watching import Grouping, Stats, StatsWanted, StepStats

T = TypeVar("T")
#: Runs that are read at a time.
RUNS_MAX = 500
#: Windows that are longer are made of hours.
CLOSE_S = 6 * 3_600.0


class TimeSlot(NamedTuple):
    """The steps that ended within one part of a time: their number by state, and what they used."""

    starts_at: int
    steps: dict[str, int]
    usage: Usage


class Statistics:
    """Steps in numbers, by agent or tenant, and by how they ended."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def count(self, *, limit_s: float = 20.0) -> int:
        """Count the runs that have ended since the last time; returns how many portions.

        They are read in a transaction that only reads, and what they come to is written in another
        one: on SQLite everybody who writes would wait.
        """
        until, portions = time.monotonic() + limit_s, 0
        while time.monotonic() < until:
            told = self._read(lambda c: stats.portion(c, RUNS_MAX))
            if told.is_empty or not in_transaction(self._engine, lambda c: stats.store(c, told)):  # noqa: B023 - it runs at once
                break
            portions += 1
        return portions

    def within(self, wanted: StatsWanted) -> Stats:
        """Statistics of the steps that ended within a time that ends now."""
        return self.over_time(wanted, stats.GRAINS_S[-1])[0]

    def over_time(self, wanted: StatsWanted, slot_s: int) -> tuple[Stats, list[TimeSlot]]:
        """The same, and beside them the slots of that time, of so many seconds each."""
        grain_s = stats.GRAINS_S[wanted.since_s > CLOSE_S]
        about = {"agent": wanted.agent, "tenant": wanted.tenant}

        def look(connection: Connection) -> tuple[Stats, list[TimeSlot]]:
            until = read_clock(connection)
            since = (until - wanted.since_s) // grain_s * grain_s
            found: dict[tuple[str, str], Counted] = defaultdict(Counted)
            slots = _slots(since, until, slot_s)
            for key, counted in stats.within(connection, grain_s, since, until, **about):
                found[_named(key, wanted.by), key.state].add(counted)
                _add(slots, key, counted, slot_s)
            told = Stats(
                since=since,
                until=until,
                counted_until=stats.counted_until(connection),
                rows=tuple(
                    _told(name, State(state), counted)
                    for (name, state), counted in sorted(found.items())
                ),
            )
            return told, slots

        return self._read(look)

    def _read(self, work: Callable[[Connection], T]) -> T:
        return in_transaction(reading(self._engine), work)


def _named(key: Key, by: Grouping) -> str:
    return "" if by == "all" else key.agent if by == "agent" else key.tenant


def _slots(since: float, until: float, slot_s: int) -> list[TimeSlot]:
    """All slots from the one in which a time begins, also those in which nothing ended."""
    first = int(since // slot_s) * slot_s
    return [TimeSlot(at, {}, Usage()) for at in range(first, int(until) + 1, slot_s)]


def _add(slots: list[TimeSlot], key: Key, counted: Counted, slot_s: int) -> None:
    """Count steps in their slot."""
    place = (key.starts_at - slots[0].starts_at) // slot_s
    at, steps, usage = slots[place]
    steps[key.state] = steps.get(key.state, 0) + counted.steps
    slots[place] = TimeSlot(at, steps, usage + counted.usage)


def _told(name: str, state: State, counted: Counted) -> StepStats:
    took = counted.durations
    return StepStats(
        name=name,
        state=state,
        count=counted.steps,
        mean_s=took.mean_s,
        deviation_s=took.deviation_s,
        min_s=took.min_s if took.count else None,
        max_s=took.max_s if took.count else None,
        median_s=took.quantile_s(0.5),
        p95_s=took.quantile_s(0.95),
        p99_s=took.quantile_s(0.99),
        errors=dict(counted.errors),
        usage=counted.usage,
    )
