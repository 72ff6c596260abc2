from __future__ import annotations

from app.journal import Journal
from app.journal.stores.overview import Overview
from tests.unit.app.journal.support import (
    DONE,
    FAILED,
    SOON,
    TIRED,
    World,
    claimed,
    expand,
    member,
    plan,
)
from tests.unit.app.journal.support import step as new


def test_slots_in_use_of_those_that_are_up(world: World, journal: Journal) -> None:
    gone = world.journal("worker@gone")
    for one, slots in ((journal, 16), (gone, 8)):
        one.announce([], ["q"], slots)
    world.end_lease(gone, ago_s=30)
    claimed(journal, "busy", new("busy"))
    found = Overview(journal.engine).cluster()
    assert {w.name: (w.running, w.slots) for w in found.workers} == {
        "worker@here": (1, 16),
        "worker@gone": (0, 8),
    }
    assert (found.running, found.slots) == (1, 16)


def test_an_empty_service(journal: Journal) -> None:
    found = Overview(journal.engine).cluster()
    (worker,) = found.workers
    assert (worker.name, worker.running, worker.slots) == ("worker@here", 0, None)
    assert worker.lease_left_s > 0
    assert (found.running, found.ready, found.oldest_ready_s, found.dead_letters) == (0, 0, None, 0)
    assert found.oldest_asking_s is None


def test_steps_by_what_they_wait_for(world: World, journal: Journal) -> None:
    gone = world.journal("worker@gone")
    claimed(gone, "held", new("held"))
    world.end_lease(gone, ago_s=30)
    claimed(journal, "busy", new("busy"))
    journal.insert(new("ready")).result(SOON)
    world.set("ready", ready_at=lambda now: now - 40)
    journal.postpone(claimed(journal, "later", new("later")), delay_s=90, error=TIRED).result(SOON)
    journal.finish(claimed(journal, "done", new("done")), DONE).result(SOON)
    wish = member("who", task="agents.approval", input={"choices": None}, options={}, waits=True)
    expand(journal, "p", plan("a"))
    parent = claimed(journal, "q", new("q", task="agents.vote", agent=None))
    journal.expand(parent, plan().model_copy(update={"members": (wish,)})).result(SOON)
    found = Overview(journal.engine).cluster()
    assert {w.name: w.running for w in found.workers} == {"worker@here": 2, "worker@gone": 1}
    left = {w.name: w.lease_left_s > 0 for w in found.workers}
    assert left == {"worker@here": True, "worker@gone": False}
    assert (found.running, found.ready, found.later, found.asking) == (3, 1, 1, 1)
    assert found.unsettled == 1
    assert found.oldest_asking_s is not None
    assert 0 <= found.oldest_asking_s < 60
    assert found.oldest_ready_s is not None
    assert 40 <= found.oldest_ready_s < 100


def test_errors_of_runs_that_failed(journal: Journal) -> None:
    """Not of those that went on after a failed attempt, or go on."""
    journal.finish(claimed(journal, "failed", new("failed")), FAILED).result(SOON)
    journal.finish(claimed(journal, "done", new("done")), DONE).result(SOON)
    journal.postpone(claimed(journal, "later", new("later")), delay_s=90, error=TIRED).result(SOON)
    overview = Overview(journal.engine)
    assert overview.errors(["failed", "done", "later", "nobody"]) == ["agent_failed: no"]
