from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from app.journal import Journal
from app.journal.schema.models import Step
from app.journal.steps.calls import Before, Begun, FinishCall, StartCall
from celery_agents.contracts.outcome import ErrorInfo
from tests.unit.app.journal.support import (
    DONE,
    SOON,
    OnPostgres,
    World,
    batch,
    claimed,
    expand,
    meanwhile,
    plan,
    step,
)

ABOUT = (0, "model", "f", "key")


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "taken over"])
def test_who_lost_its_step_begins_no_call(world: World, journal: Journal, ended: bool) -> None:
    """Before it pays it asks, and learns that the step is not its own any more."""
    late = claimed(journal, "s", step())
    world.end_lease(journal)
    other = world.journal("other")
    claim = claimed(other, "s")
    if ended:
        other.finish(claim, DONE).result(SOON)
    assert journal.start_call(late, *ABOUT).result(SOON) is Begun.LOST
    assert batch(journal, StartCall(late, *ABOUT)) == [Begun.LOST]
    assert world.calls("s") == []


def test_who_lost_its_step_begins_no_call_that_is_made_once(world: World, journal: Journal) -> None:
    late = claimed(journal, "s", step())
    world.end_lease(journal)
    claim = claimed(world.journal("other"), "s")
    assert journal.start_call(late, *ABOUT, once=True).result(SOON) is Begun.LOST
    assert journal.start_call(claim, *ABOUT, once=True).result(SOON) is Begun.YES


@pytest.mark.parametrize(
    ("kind", "begun"), [("answer_too_large", Begun.KNOWN), ("unavailable", Begun.YES)]
)
@pytest.mark.parametrize("once", [True, False])
def test_one_that_answered_too_much_late_was_made(
    world: World, journal: Journal, kind: str, begun: Begun, once: bool
) -> None:
    """Told after the next claim has read what there is. Other errors say that nothing happened."""
    late = claimed(journal, "s", step())
    journal.start_call(late, *ABOUT, once=once).result(SOON)
    world.end_lease(journal)
    other = world.journal("other")
    claim = claimed(other, "s")
    told = ErrorInfo(kind=kind, message='of "kind":"answer_too_large"')
    journal.finish_call(late, 0, None, told).result(SOON)
    assert other.start_call(claim, *ABOUT, once=once).result(SOON) is begun
    assert batch(other, StartCall(claim, *ABOUT, once=once)) == [begun]


@pytest.mark.parametrize("cost", [0.25, None])
def test_what_a_call_cost_stands_beside_it(
    world: World, journal: Journal, cost: float | None
) -> None:
    """In the short way, and in the ordinary one."""
    claim = claimed(journal, "s", step())
    for seq in range(2):
        journal.start_call(claim, seq, "model", f"f{seq}", f"key{seq}").result(SOON)
    journal.finish_call(claim, 0, {"value": 1}, cost_usd=cost).result(SOON)
    batch(journal, FinishCall(claim, 1, {"value": 1}, cost_usd=cost))
    assert [call.cost_usd for call in world.calls("s")] == [cost, cost]


def test_each_call_of_a_batch_gets_its_own_answer(world: World, journal: Journal) -> None:
    """Whatever the order in which they are written."""
    claims = [claimed(journal, i, step(i)) for i in ("z", "a", "m")]
    world.end_lease(journal)
    claimed(world.journal("other"), "a")
    begun = batch(journal, *(StartCall(c, 0, "model", "f", f"key-{c.id}") for c in claims))
    assert begun == [Begun.YES, Begun.LOST, Begun.YES]
    assert [len(world.calls(i)) for i in "zam"] == [1, 0, 1]


class TestBesideOthers(OnPostgres):
    def test_calls_begin_while_their_steps_are_locked(self, world: World, journal: Journal) -> None:
        """Each refers to its step: who holds steps to end or release them stands in no call's way,
        nor a batch of calls in the way of who takes steps one after the other."""
        members = expand(journal, "p", plan("a", "b"))
        calls = [StartCall(c, *ABOUT) for c in members]
        writer: Any = journal._writer
        with world.engine.begin() as c:
            lock = select(Step.id).with_for_update(key_share=True)
            c.execute(lock.where(Step.id.in_([m.id for m in members])))
            writer._commit(list(calls))  # it waits for nobody
        assert [o.future.result(SOON) for o in calls] == [Begun.YES, Begun.YES]

    def test_a_call_made_once_begins_before_another_claim_is_written_or_never(
        self, world: World, journal: Journal
    ) -> None:
        """Its worker may be frozen between its look at the step and its write."""
        late = claimed(journal, "s", step())
        world.end_lease(journal)
        other = world.journal("other")
        with world.engine.connect() as c:
            first = c.begin()
            assert StartCall.apply(c, [StartCall(late, *ABOUT, once=True)]) == [Begun.YES]
            with meanwhile(world, lambda: claimed(other, "s")) as taken:
                first.commit()
        begun = other.start_call(taken[0], *ABOUT, once=True).result(SOON)
        assert isinstance(begun, Before)
        assert other.start_call(taken[0], *ABOUT).result(SOON) is Begun.YES  # as any other

    def test_copies_of_calls_that_begin_at_once_are_one_each(
        self, world: World, journal: Journal
    ) -> None:
        """Two batches of the same calls, in opposite orders: the second waits for the first."""
        members = sorted(expand(journal, "p", plan("a", "b")), key=lambda c: c.id)
        there, back = ([StartCall(c, *ABOUT) for c in order] for order in (members, members[::-1]))
        with world.engine.connect() as c:
            first = c.begin()
            assert StartCall.apply(c, there) == [Begun.YES, Begun.YES]
            with meanwhile(world, lambda: batch(journal, *back)) as second:
                first.commit()
        assert second == [[Begun.YES, Begun.YES]]
        assert [len(world.calls(m.id)) for m in members] == [1, 1]
