from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select

from app.journal import Journal
from app.journal.schema.models import Worker
from app.journal.schema.rows import Wake
from app.journal.steps import due
from tests.unit.app.journal.support import (
    DONE,
    SOON,
    TIRED,
    World,
    claimed,
    expand,
    ids,
    plan,
    step,
)

Find = Callable[..., list[Wake]]
GRACE_S, MOST_S = 10.0, 300.0


def look(journal: Journal, find: Find, limit: int = 100) -> list[Wake]:
    return journal.transaction(lambda c: find(c, limit, GRACE_S, MOST_S))


@pytest.mark.parametrize("find", [due.orphaned, due.unwoken, due.unsettled])
def test_nothing_is_found_where_nothing_is_due(world: World, journal: Journal, find: Find) -> None:
    assert look(journal, find) == []
    claimed(journal, "running", step("running"))
    journal.postpone(claimed(journal, "ready", step("ready")), delay_s=0).result(SOON)
    journal.postpone(claimed(journal, "later", step("later")), delay_s=99, error=TIRED).result(SOON)
    journal.finish(claimed(journal, "done", step("done")), DONE).result(SOON)
    journal.finish(claimed(journal, "settled", step("settled")), DONE).result(SOON)
    journal.settle("settled", 1).result(SOON)
    world.set("settled", wake_at=0.0)
    expand(journal, "waiting", plan("a"))
    world.set("waiting", wake_at=0.0)
    world.set("later", wake_at=0.0)
    world.set("running", wake_at=0.0)
    assert look(journal, find) == []


def test_steps_of_a_dead_worker_are_found_at_once(world: World, journal: Journal) -> None:
    other = world.journal("other")
    claimed(journal, "s", step(envelope={"chain": []}, priority=3))
    claimed(other, "alive", step("alive"))
    world.end_lease(journal)
    (found,) = look(other, due.orphaned)
    assert found == Wake(
        "s", "agents.ask", "agents", 3, "s", None, "a", step().payload, {"chain": []}
    )
    assert look(other, due.orphaned) == []  # its message is on its way
    world.set("s", wake_at=0.0)
    assert ids(look(other, due.orphaned)) == ["s"]


def test_a_step_that_had_been_woken_before_is_found_as_soon(world: World, journal: Journal) -> None:
    """It waited in a long queue, was woken again and again, ran at last, and its worker died."""
    journal.postpone(claimed(journal, "s", step()), delay_s=0).result(SOON)
    for _ in range(5):
        world.set("s", wake_at=0.0)
        assert ids(look(journal, due.unwoken)) == ["s"]
    claimed(journal, "s")
    world.end_lease(journal)
    assert ids(look(journal, due.orphaned)) == ["s"]


def test_dead_workers_are_forgotten_once_they_hold_nothing(world: World, journal: Journal) -> None:
    dead, holding, fresh = (world.journal(n) for n in ("dead", "holding", "fresh"))
    claimed(holding, "s", step())
    world.end_lease(dead, ago_s=3600)
    world.end_lease(holding, ago_s=3600)
    world.end_lease(fresh, ago_s=5)
    look(journal, due.orphaned)
    with world.engine.connect() as c:
        left = set(c.execute(select(Worker.id)).scalars())
    assert left == {journal.me.id, holding.me.id, fresh.me.id}


def test_a_ready_step_that_nobody_took_is_found(world: World, journal: Journal) -> None:
    journal.postpone(claimed(journal, "s", step()), delay_s=0).result(SOON)
    world.set("s", wake_at=0.0)
    assert ids(look(journal, due.unwoken)) == ["s"]
    assert look(journal, due.unwoken) == []


def test_a_finished_step_whose_successors_may_be_lost_is_found(
    world: World, journal: Journal
) -> None:
    journal.finish(claimed(journal, "s", step()), DONE).result(SOON)
    world.set("s", wake_at=0.0)
    assert ids(look(journal, due.unsettled)) == ["s"]
    world.set("s", wake_at=0.0)
    journal.settle("s", 1).result(SOON)
    assert look(journal, due.unsettled) == []


@pytest.mark.parametrize(
    ("woken", "pause_s"), [(0, 10), (1, 20), (2, 40), (4, 160), (5, 300), (50, 300), (4000, 300)]
)
def test_each_wake_waits_longer_up_to_a_bound(
    world: World, journal: Journal, woken: int, pause_s: float
) -> None:
    journal.postpone(claimed(journal, "s", step()), delay_s=0).result(SOON)
    world.set("s", wake_at=0.0, wakes=woken)
    look(journal, due.unwoken)
    row = world.row("s")
    assert row.wakes == woken + 1
    assert row.wake_at - world.clock() == pytest.approx(pause_s, abs=5)


def test_what_is_due_longest_comes_first_within_the_limit(world: World, journal: Journal) -> None:
    for n in range(5):
        journal.finish(claimed(journal, f"s{n}", step(f"s{n}")), DONE).result(SOON)
        world.set(f"s{n}", wake_at=100.0 - n)
    assert sorted(ids(look(journal, due.unsettled, limit=2))) == ["s3", "s4"]
    assert sorted(ids(look(journal, due.unsettled, limit=2))) == ["s1", "s2"]


def test_known_ids(journal: Journal) -> None:
    claimed(journal, "s", step())
    assert journal.read(lambda c: due.known(c, ["s", "t"])) == {"s"}
    assert journal.read(lambda c: due.known(c, [])) == set()
