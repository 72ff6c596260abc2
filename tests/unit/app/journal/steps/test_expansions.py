from __future__ import annotations

import pytest

from agents.plan import Expand
from app.journal import Journal
from app.journal.schema.rows import derived_id
from tests.unit.app.journal.support import (
    DONE,
    SOON,
    World,
    claimed,
    expand,
    ids,
    member,
    plan,
    step,
)

pytestmark = pytest.mark.databases("both")


def test_the_parent_waits_for_members_that_inherit_from_it(world: World, journal: Journal) -> None:
    parent = claimed(journal, "p", step("p", queue="slow", priority=8))
    wanted = Expand(members=(member("a", deadline_s=40, max_attempts=9), member("b")))
    made = journal.expand(parent, wanted).result(SOON)
    assert ids(made.members) == [derived_id("p", "a"), derived_id("p", "b")]
    assert (made.wakes, made.timer) == ([], None)
    assert world.row("p").state == "waiting"
    assert world.row("p").worker_id is None
    row = world.row(derived_id("p", "a"))
    assert (row.run_id, row.parent_id, row.member, row.position) == ("p", "p", "a", 0)
    assert (row.queue, row.priority, row.max_attempts) == ("slow", 8, 9)
    assert row.payload == {"args": ["a"], "kwargs": {"agent": "a"}}
    assert row.deadline_at == pytest.approx(world.clock() + 40, abs=5)
    message = made.members[0]
    assert (message.queue, message.parent_id, message.payload) == ("slow", "p", row.payload)


def test_the_same_expansion_makes_the_same_members(world: World, journal: Journal) -> None:
    """As a worker does that took the step over, when the first one had got that far."""
    a, _ = expand(journal, "p", plan("a", "b"))
    journal.finish(a, DONE).result(SOON)
    world.set("p", state="ready")  # its worker did not come to hear that it waits
    again = journal.expand(claimed(journal, "p"), plan("a", "b", "c")).result(SOON)
    assert ids(again.members) == [derived_id("p", "c")]
    assert [m.key for m in journal.members("p")] == ["a", "b", "c"]
    assert [m.round for m in journal.members("p")] == [2, 2, 2]  # listed again, they count in it
    join = world.join("p")
    assert (join.round, join.expected, join.done, join.state) == (2, 3, 1, "open")


def test_a_member_that_is_named_twice_is_one_member(world: World, journal: Journal) -> None:
    (one,) = expand(journal, "p", plan("a", "a"))
    assert ids(journal.finish(one, DONE).result(SOON).wakes) == ["p"]


def test_an_expansion_without_members_goes_on_at_once(journal: Journal) -> None:
    made = journal.expand(claimed(journal, "p", step("p")), plan()).result(SOON)
    assert (made.members, ids(made.wakes)) == ([], ["p"])
    assert claimed(journal, "p").token == 2


def test_a_cancelled_step_does_not_expand(world: World, journal: Journal) -> None:
    parent = claimed(journal, "p", step("p"))
    journal.cancel("p")
    assert not journal.expand(parent, plan("a")).result(SOON).applied
    assert world.row("p").state == "running"
    assert journal.members("p") == []


def test_a_note_is_told(world: World, journal: Journal) -> None:
    expand(journal, "p", plan("a", note={"why": "tie"}))
    assert world.events("p") == [("expanded", {"why": "tie"})]


def test_a_member_that_waits_for_a_person_is_not_published(world: World, journal: Journal) -> None:
    parent = claimed(journal, "p", step("p"))
    made = journal.expand(parent, Expand(members=(member("a", waits=True),))).result(SOON)
    assert made.members == []
    assert world.states("p", "a") == ["waiting"]


def test_many_members(world: World, journal: Journal) -> None:
    keys = [f"m{n}" for n in range(2_000)]
    made = journal.expand(claimed(journal, "p", step("p")), plan(*keys)).result(SOON)
    assert len(made.members) == len({m.id for m in made.members}) == 2_000
    assert [m.key for m in journal.members("p")] == keys
    assert world.join("p").expected == 2_000
    assert world.run("p").state == "open"


def test_a_pattern_that_asks_in_vain_is_told(world: World, journal: Journal) -> None:
    """It would be woken at once, with what it knows already, for ever."""
    (one,) = expand(journal, "p", plan("a"))
    journal.finish(one, DONE).result(SOON)
    parent = claimed(journal, "p")
    for asked in (plan("a"), plan(), plan("a", "a")):
        with pytest.raises(ValueError, match="for ever"):
            journal.expand(parent, asked, ended_members=1).result(SOON)
    assert (world.row("p").state, world.join("p").round) == ("running", 1)
    assert journal.expand(parent, plan("a", "b"), ended_members=1).result(SOON).applied


def test_one_whose_member_has_ended_meanwhile_does_not(journal: Journal) -> None:
    a, b = expand(journal, "p", plan("a", "b", kind="first", keep=True))
    journal.finish(a, DONE).result(SOON)
    parent = claimed(journal, "p")  # which sees a, and then b ends
    journal.finish(b, DONE).result(SOON)
    made = journal.expand(parent, plan("a", "b"), ended_members=1).result(SOON)
    assert ids(made.wakes) == ["p"]
