"""Statistics are counted from the rows of runs that have ended, each once."""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text, update

from agents.policies.sketch import Summary
from app.journal import Journal
from app.journal.schema.models import Stat, Step, Uncounted
from app.journal.stores.statistics import Statistics
from app.journal.tables import stats
from app.journal.tables.stats import Counted, Key
from celery_agents.contracts.outcome import Outcome, Usage
from celery_agents.contracts.watching import Stats, StatsWanted, StepStats
from tests.unit.app.journal.support import (
    DONE,
    FAILED,
    SOON,
    World,
    claimed,
    expand,
    plan,
    step,
)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "GRACE_S", 0.0)


@pytest.fixture
def statistics(world: World) -> Statistics:
    return Statistics(world.engine)


def rows(statistics: Statistics, **wanted: Any) -> dict[tuple[str, str], StepStats]:
    found: Stats = statistics.within(StatsWanted(**wanted))
    return {(row.name, row.state.value): row for row in found.rows}


def finish(journal: Journal, run_id: str, outcome: Outcome = DONE, **more: Any) -> None:
    journal.finish(claimed(journal, run_id, step(run_id, **more)), outcome).result(SOON)


def numbers(statistics: Statistics, **wanted: Any) -> dict[tuple[str, str], int]:
    return {key: row.count for key, row in rows(statistics, **wanted).items()}


def test_each_ended_step_is_counted_once(journal: Journal, statistics: Statistics) -> None:
    for n in range(3):
        finish(journal, f"r{n}")
    finish(journal, "bad", FAILED, agent="gpt")
    statistics.count()
    assert numbers(statistics) == {("a", "succeeded"): 3, ("gpt", "failed"): 1}
    statistics.count()
    finish(journal, "r3")
    assert statistics.count() == 1
    assert statistics.count() == 0
    assert numbers(statistics) == {("a", "succeeded"): 4, ("gpt", "failed"): 1}
    assert rows(statistics)["a", "succeeded"].usage == Usage(calls=4, cost_usd=2.0)
    assert rows(statistics)["gpt", "failed"].errors == {"agent_failed": 1}


def test_by_tenant_agent_and_all(journal: Journal, statistics: Statistics) -> None:
    finish(journal, "r0", tenant="acme")
    finish(journal, "r1", tenant="acme", agent="gpt")
    finish(journal, "r2")
    statistics.count()
    assert numbers(statistics, by="tenant") == {("acme", "succeeded"): 2, ("", "succeeded"): 1}
    assert numbers(statistics, by="all") == {("", "succeeded"): 3}
    assert numbers(statistics, agent="gpt") == {("gpt", "succeeded"): 1}
    assert numbers(statistics, tenant="acme", by="all") == {("", "succeeded"): 2}
    assert numbers(statistics, since_s=7 * 86_400.0, by="all") == {("", "succeeded"): 3}


def test_slots_of_a_time_add_up_to_all_of_it(
    world: World, journal: Journal, statistics: Statistics
) -> None:
    for n in range(3):
        finish(journal, f"r{n}")
    finish(journal, "bad", FAILED, agent="gpt")
    with world.engine.begin() as c:  # one of them ended twenty minutes before
        c.execute(
            update(Step)
            .where(Step.id == "r0")
            .values(finished_at=Step.finished_at - 1_200, started_at=Step.started_at - 1_200)
        )
    statistics.count()
    told, slots = statistics.over_time(StatsWanted(since_s=3_600.0), 600)
    assert sum(row.count for row in told.rows) == 4
    assert [b.starts_at - a.starts_at for a, b in pairwise(slots)] == [600] * (len(slots) - 1)
    assert slots[0].starts_at <= told.since < slots[0].starts_at + 600
    assert slots[-1].starts_at <= told.until < slots[-1].starts_at + 600
    full = [slot.steps for slot in slots if slot.steps]
    assert full[0] == {"succeeded": 1}
    assert sum(sum(steps.values()) for steps in full) == 4
    assert sum((slot.usage for slot in slots), Usage()) == Usage(calls=3, cost_usd=1.5)
    few = statistics.over_time(StatsWanted(since_s=3_600.0, agent="gpt"), 600)[1]
    assert [slot.steps for slot in few if slot.steps] == [{"failed": 1}]


def test_a_run_is_counted_when_its_last_step_has_ended(
    world: World, journal: Journal, statistics: Statistics
) -> None:
    one, two = expand(journal, "p", plan("a", "b"))
    finish(journal, "before")
    statistics.count()
    assert numbers(statistics, by="all") == {("", "succeeded"): 1}
    journal.finish(one, DONE).result(SOON)
    journal.finish(two, FAILED).result(SOON)
    statistics.count()
    assert numbers(statistics, by="all") == {("", "succeeded"): 1}
    journal.finish(claimed(journal, "p"), DONE).result(SOON)
    statistics.count()
    assert numbers(statistics, by="all") == {("", "succeeded"): 3, ("", "failed"): 1}
    assert numbers(statistics, agent="agents.vote") == {("agents.vote", "succeeded"): 1}
    with world.engine.connect() as c:
        assert c.execute(select(func.count()).select_from(Uncounted)).scalar_one() == 0


def test_what_sql_ended_is_counted_without_a_duration(
    journal: Journal, statistics: Statistics
) -> None:
    parent = claimed(journal, "p", step("p", task="agents.fallback", agent=None))
    journal.expand(parent, plan("a", "b")).result(SOON)
    journal.cancel("p")
    statistics.count()
    found = rows(statistics, by="all")["", "cancelled"]
    assert found.count == 3
    assert numbers(statistics, agent="agents.ask")["agents.ask", "cancelled"] == 2
    assert rows(statistics, agent="agents.ask")["agents.ask", "cancelled"].p99_s is None


def test_many_that_began_at_one_moment_are_counted_over_portions(
    world: World, journal: Journal, statistics: Statistics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.journal.stores.statistics.RUNS_MAX", 3)
    for n in range(10):
        finish(journal, f"r{n}")
    with world.engine.begin() as c:
        c.execute(text("UPDATE runs SET created_at = 5.0"))
    assert statistics.count() == 4
    assert numbers(statistics) == {("a", "succeeded"): 10}


def test_of_two_that_count_at_once_one_counts(world: World, journal: Journal) -> None:
    finish(journal, "new")
    parent = claimed(journal, "open", step("open", task="agents.vote", agent=None))
    journal.expand(parent, plan("a")).result(SOON)
    with world.engine.connect() as c:
        told = stats.portion(c, 100)
    with world.engine.begin() as c:
        assert stats.store(c, told)
    with world.engine.begin() as c:
        assert not stats.store(c, told)
    journal.cancel("open")
    with world.engine.connect() as c:
        told = stats.portion(c, 100)
    assert told.ended.over == ["open"]
    with world.engine.begin() as c:
        assert stats.store(c, told)
    with world.engine.begin() as c:
        assert not stats.store(c, told)
    statistics = Statistics(world.engine)
    assert numbers(statistics, by="all") == {("", "succeeded"): 1, ("", "cancelled"): 2}


def _durations() -> Iterator[float]:
    draw = random.Random(3)
    for _ in range(100_000):
        yield draw.lognormvariate(0, 1.5)


def test_a_hundred_thousand_steps_within_two_percent_and_50_ms(
    world: World, statistics: Statistics
) -> None:
    """In processor time, which a busy machine does not stretch."""
    durations = [*_durations()]
    at = int(world.clock())
    kept = []
    for place in range(60):  # of each minute of the last hour
        took = Summary.of(durations[place::60])
        key = Key(60, (at - 60 * place) // 60 * 60, "", "gpt", "succeeded")
        kept.append(stats._row(key, Counted(took.count, Usage(), took)))
    with world.engine.begin() as c:
        c.execute(insert(Stat), kept)
    best = 9.0
    for _ in range(5):
        begin = time.thread_time()
        found = rows(statistics, since_s=3_600.0)
        best = min(best, time.thread_time() - begin)
    (row,) = found.values()
    assert row.count == 100_000
    exact = sorted(durations)
    for told, share in ((row.median_s, 0.5), (row.p95_s, 0.95), (row.p99_s, 0.99)):
        assert told == pytest.approx(exact[int(share * 100_000) - 1], rel=0.02)
    assert best < 0.05


def test_a_month_of_many_agents_is_not_held_at_once(
    world: World, statistics: Statistics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours stay for months; a page of them is looked at again and again."""
    hour = int(world.clock()) // 3_600 * 3_600
    took = Summary.of(0.01 * 1.1**n for n in range(60))
    one = Counted(took.count, Usage(calls=1, cost_usd=0.5), took)
    keys = [
        Key(3_600, hour - 3_600 * n, "", f"agent{agent}", "succeeded")
        for n in range(24 * 30)
        for agent in range(2)
    ]
    with world.engine.begin() as c:
        c.execute(insert(Stat), [stats._row(key, one) for key in keys])
    monkeypatch.setattr(stats, "_AT_ONCE", 50)
    statistics.within(StatsWanted(since_s=60.0))
    tracemalloc.start()
    try:
        told, slots = statistics.over_time(StatsWanted(since_s=30 * 86_400.0), 86_400)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {row.count for row in told.rows} == {24 * 30 * took.count}
    assert len(told.rows) == 2
    assert sum(sum(slot.steps.values()) for slot in slots) == len(keys) * took.count
    assert most < 4_000_000, "its rows are held at once"
