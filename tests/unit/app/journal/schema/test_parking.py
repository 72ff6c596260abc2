"""Members that wait for their turn: so many run at a time, and each end lets the next one begin."""

from __future__ import annotations

import random
from typing import Any

import pytest

from agents.plan import Expand, JoinPolicy, PageOfMembers
from app.journal import Journal
from app.journal.paging import pages
from app.journal.queries import reasons
from app.journal.schema.parking import PARKED_FROM
from app.journal.schema.rows import Aftermath, derived_id
from app.journal.steps import due
from app.journal.steps.finishes import FinishStep
from celery_agents.contracts.outcome import Outcome, State
from tests.unit.app.journal.steps.test_caps import pay
from tests.unit.app.journal.steps.test_dead_letters import die, requeue
from tests.unit.app.journal.support import (
    DONE,
    FAILED,
    SOON,
    OnPostgres,
    World,
    batch,
    claimed,
    ids,
    meanwhile,
    member,
    refused,
    step,
)


def window(count: int, at_once: int, *, kind: Any = "all", **more: Any) -> Expand:
    join = JoinPolicy(kind=kind, max_concurrent=at_once)
    return Expand(members=tuple(member(str(n), **more) for n in range(count)), join=join)


def begin(journal: Journal, what: Expand) -> list[str]:
    parent = claimed(journal, "p", step("p", task="agents.map", agent=None))
    return ids(journal.expand(parent, what).result(SOON).members)


def place(n: int) -> str:
    return derived_id("p", str(n))


def end(journal: Journal, n: int, outcome: Outcome = DONE) -> Aftermath:
    return journal.finish(claimed(journal, place(n)), outcome).result(SOON)


def test_each_end_lets_the_next_one_begin(world: World, journal: Journal) -> None:
    assert begin(journal, window(5, 2)) == [place(0), place(1)]
    assert refused(journal, place(2)) == "early"
    assert ids(end(journal, 1).wakes) == [place(2)]
    assert ids(end(journal, 2, FAILED).wakes) == [place(3)]  # the slow one holds nobody up
    assert ids(end(journal, 3).wakes) == [place(4)]
    assert ids(end(journal, 4).wakes) == []
    assert ids(end(journal, 0).wakes) == ["p"]
    join = world.join("p")
    assert (join.state, join.done, join.succeeded, join.round) == ("fired", 5, 4, 1)


def test_a_group_commit_lets_as_many_begin_as_ended(journal: Journal) -> None:
    begin(journal, window(9, 3))
    ends = [FinishStep(claimed(journal, place(n)), DONE, journal.rules) for n in range(3)]
    wakes = [wake for after in batch(journal, *ends) for wake in ids(after.wakes)]
    assert sorted(wakes) == sorted(map(place, (3, 4, 5)))


def test_an_end_that_is_told_twice_lets_one_begin(world: World, journal: Journal) -> None:
    begin(journal, window(4, 1))
    claim = claimed(journal, place(0))
    assert ids(journal.finish(claim, DONE).result(SOON).wakes) == [place(1)]
    assert not journal.finish(claim, DONE).result(SOON).applied
    assert world.row(place(2)).ready_at > PARKED_FROM


def test_its_time_begins_with_its_turn(world: World, journal: Journal) -> None:
    begin(journal, window(2, 1, deadline_s=40))
    assert world.row(place(1)).deadline_at > PARKED_FROM
    end(journal, 0)
    row = world.row(place(1))
    now_s = world.clock()
    assert row.deadline_at == pytest.approx(now_s + 40, abs=5)
    assert row.ready_at == pytest.approx(now_s, abs=5)
    assert row.wake_at == pytest.approx(now_s + 10, abs=5)
    assert row.created_at == pytest.approx(now_s, abs=5)


def test_recovery_finds_who_has_a_turn_and_no_other(world: World, journal: Journal) -> None:
    """As when a worker dies between its commit and its messages."""
    begin(journal, window(3, 1))
    end(journal, 0)
    world.set(place(1), wake_at=lambda now: now - 1, ready_at=lambda now: now - 20)
    with world.engine.begin() as c:
        assert ids(due.unwoken(c, 10, 10, 60)) == [place(1)]


def test_one_that_is_to_be_tried_again_keeps_its_turn(world: World, journal: Journal) -> None:
    begin(journal, window(3, 1))
    journal.postpone(claimed(journal, place(0)), delay_s=0, error=None).result(SOON)
    assert world.row(place(1)).ready_at > PARKED_FROM
    assert ids(end(journal, 0).wakes) == [place(1)]


def test_the_first_that_fails_skips_those_that_wait(world: World, journal: Journal) -> None:
    begin(journal, window(4, 2, kind="unbroken"))
    running = claimed(journal, place(1))
    after = end(journal, 0, FAILED)
    assert (ids(after.wakes), after.cancels) == (["p"], [running.id])
    assert world.states("p", "0123") == ["failed", "running", "skipped", "skipped"]


def test_a_cancelled_run_lets_nobody_begin(world: World, journal: Journal) -> None:
    begin(journal, window(4, 2))
    running = claimed(journal, place(0))
    journal.cancel("p")
    assert ids(journal.finish(running, DONE).result(SOON).wakes) == []
    assert world.states("p", "123") == ["cancelled"] * 3


def test_what_has_ended_before_takes_nobody_s_turn(world: World, journal: Journal) -> None:
    told = {n: Outcome(state=State.SUCCEEDED, value=n) for n in (1, 2, 4)}
    members = tuple(member(str(n), ended=told.get(n)) for n in range(7))
    what = Expand(members=members, join=JoinPolicy(max_concurrent=2))
    assert begin(journal, what) == [place(0), place(3)]
    assert world.row(place(2)).outcome["value"] == 2
    assert ids(end(journal, 3).wakes) == [place(5)]
    assert ids(end(journal, 5).wakes) == [place(6)]
    assert ids(end(journal, 0).wakes) == []
    assert ids(end(journal, 6).wakes) == ["p"]
    assert journal.tally("p", values_within=1_000).succeeded == 7


def test_where_all_have_ended_before_it_goes_on_at_once(journal: Journal) -> None:
    done = Outcome(state=State.SUCCEEDED, value="x")
    parent = claimed(journal, "p", step("p", task="agents.map", agent=None))
    what = Expand(members=(member("0", ended=done), member("1", ended=done)))
    made = journal.expand(parent, what).result(SOON)
    assert (made.members, ids(made.wakes)) == ([], ["p"])
    assert journal.tally("p", values_within=1_000).values == ("x", "x")


def test_people_are_told_why_it_waits(world: World, journal: Journal) -> None:
    begin(journal, window(2, 1))
    row = type("Row", (), {"why_state": "ready", "why_finished_at": None, "why_stream": None})
    row.why_ready_at = world.row(place(1)).ready_at  # type: ignore[attr-defined]
    found = reasons.why(row)
    assert found is not None
    assert (found.rank, found.text) == (
        reasons.GOES_ON,
        "others of its map run, as many as may at a time",
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("count", "at_once"), [(12, 5), (7, 1), (3, 9)])
def test_never_more_at_a_time_and_nobody_forgotten(
    journal: Journal, seed: int, count: int, at_once: int
) -> None:
    chance = random.Random(seed)
    open_ = begin(journal, window(count, at_once))
    seen = list(open_)
    while open_:
        assert len(open_) == min(at_once, count - (len(seen) - len(open_)))
        ended = [claimed(journal, open_.pop(chance.randrange(len(open_))))]
        while open_ and chance.random() < 0.3:
            ended.append(claimed(journal, open_.pop(chance.randrange(len(open_)))))
        outcome = chance.choice([DONE, FAILED, Outcome(state=State.CANCELLED)])
        ends = [FinishStep(claim, outcome, journal.rules) for claim in ended]
        found = [wake for after in batch(journal, *ends) for wake in ids(after.wakes)]
        assert (found == ["p"]) == (len(seen) == count and not open_)
        begun = [wake for wake in found if wake != "p"]
        seen += begun
        open_ += begun
    assert sorted(seen) == sorted(map(place, range(count)))


class TestMeanwhile(OnPostgres):
    def test_two_ends_at_the_same_time_let_two_begin(self, world: World, journal: Journal) -> None:
        begin(journal, window(4, 2))
        first, second = (claimed(journal, place(n)) for n in (0, 1))
        other = world.journal("other@here")
        theirs = FinishStep(second, DONE, other.rules)
        with world.engine.begin() as c:
            mine = FinishStep.apply(c, [FinishStep(first, DONE, journal.rules)])
            with meanwhile(world, lambda: batch(other, theirs)) as found:
                c.commit()
        assert ids(mine[0].wakes) == [place(2)]
        assert ids(found[0][0].wakes) == [place(3)]

    def test_each_of_two_ends_hands_its_own_agent_on(self, world: World, journal: Journal) -> None:
        about = {0: "a", 1: "b"}
        members = tuple(
            member(str(n), agent=about.get(n), options={"agent": about[n]} if n in about else {})
            for n in range(4)
        )
        begin(journal, Expand(members=members, join=JoinPolicy(max_concurrent=2)))
        first, second = (claimed(journal, place(n)) for n in (0, 1))
        other = world.journal("other@here")
        theirs = FinishStep(second, DONE, other.rules)
        with world.engine.begin() as c:
            FinishStep.apply(c, [FinishStep(first, DONE, journal.rules)])
            with meanwhile(world, lambda: batch(other, theirs)):
                c.commit()
        assert [world.row(place(n)).agent for n in range(4)] == ["a", "b", "a", "b"]


def page(start: int, count: int, expected: int, at_once: int | None, **more: Any) -> Expand:
    """Members from a place on, of a map that has so many."""
    of = PageOfMembers(
        start=start, expected=expected, turn=start, more=start + count < expected, **more
    )
    members = tuple(member(str(n)) for n in range(start, start + count))
    return Expand(members=members, join=JoinPolicy(max_concurrent=at_once), page=of)


def ended_before(what: Expand, *places: int) -> Expand:
    """The same where members at these places have ended in an earlier run."""
    done = Outcome(state=State.SUCCEEDED, value="x")
    members = tuple(
        m.model_copy(update={"ended": done}) if int(m.key) in places else m for m in what.members
    )
    assert what.page is not None
    turn = what.page.start - sum(n < what.page.start for n in places)
    of = what.page.model_copy(update={"turn": turn})
    return what.model_copy(update={"members": members, "page": of})


def test_a_window_goes_on_over_pages(world: World, journal: Journal) -> None:
    first = claimed(journal, "p", step("p", task="agents.map", agent=None))
    found = journal.expand(first, page(0, 2, 5, 3)).result(SOON)
    assert (ids(found.members), ids(found.wakes)) == ([place(0), place(1)], ["p"])
    assert ids(end(journal, 0).wakes) == []  # its turn is kept for the next page
    second = claimed(journal, "p")
    assert ids(journal.expand(second, page(2, 2, 5, 3)).result(SOON).members) == [
        place(2),
        place(3),
    ]
    assert ids(end(journal, 1).wakes) == []
    last = journal.expand(claimed(journal, "p"), page(4, 1, 5, 3)).result(SOON)
    assert (ids(last.members), ids(last.wakes)) == ([place(4)], [])
    for n in (2, 3):
        assert ids(end(journal, n).wakes) == []
    assert ids(end(journal, 4).wakes) == ["p"]
    join = world.join("p")
    assert (join.state, join.done, join.expected, join.round) == ("fired", 5, 5, 1)


def test_a_full_window_lets_none_of_a_page_begin(journal: Journal) -> None:
    first = claimed(journal, "p", step("p", task="agents.map", agent=None))
    assert ids(journal.expand(first, page(0, 3, 4, 2)).result(SOON).members) == [place(0), place(1)]
    assert journal.expand(claimed(journal, "p"), page(3, 1, 4, 2)).result(SOON).members == []
    assert [ids(end(journal, n).wakes) for n in (0, 1, 2)] == [[place(2)], [place(3)], []]


def test_an_old_claim_adds_no_page(world: World, journal: Journal) -> None:
    first = claimed(journal, "p", step("p", task="agents.map", agent=None))
    journal.expand(first, page(0, 2, 4, None)).result(SOON)
    assert not journal.expand(first, page(2, 2, 4, None)).result(SOON).applied
    assert len(journal.members("p")) == 2


def test_one_that_is_stopped_amid_its_pages_gets_no_more(world: World, journal: Journal) -> None:
    first = claimed(journal, "p", step("p", task="agents.map", agent=None))
    stops = page(0, 2, 4, 2)
    stops = stops.model_copy(update={"join": JoinPolicy(kind="unbroken", max_concurrent=2)})
    journal.expand(first, stops).result(SOON)
    second = claimed(journal, "p")
    end(journal, 0, FAILED)
    found = journal.expand(second, page(2, 2, 4, 2)).result(SOON)
    assert (found.members, ids(found.wakes)) == ([], ["p"])
    assert len(journal.members("p")) == 2
    assert claimed(journal, "p").token == 3


def test_the_next_one_has_the_agent_of_who_ended(world: World, journal: Journal) -> None:
    about = {0: "a", 1: "b"}
    members = tuple(
        member(str(n), agent=about.get(n), options={"agent": about[n]} if n in about else {})
        for n in range(5)
    )
    begin(journal, Expand(members=members, join=JoinPolicy(max_concurrent=2)))
    (wake,) = end(journal, 1).wakes
    assert (wake.id, wake.agent, wake.payload["kwargs"]) == (place(2), "b", {"agent": "b"})
    assert claimed(journal, place(2)).agent == "b"
    (wake,) = end(journal, 0).wakes
    assert (wake.id, wake.agent) == (place(3), "a")
    assert world.row(place(4)).agent is None


@pytest.mark.parametrize("at_once", [None, 2])
@pytest.mark.parametrize("asked", [(0,), ()])
def test_pages_of_what_had_ended_before_are_waited_for(
    world: World, journal: Journal, at_once: int | None, asked: tuple[int, ...]
) -> None:
    """All that was asked has ended before the last page is there: the others are still to come."""
    before = {*range(5)} - {*asked}
    parent = claimed(journal, "p", step("p", task="agents.map", agent=None))
    first = journal.expand(parent, ended_before(page(0, 2, 5, at_once), *before)).result(SOON)
    assert ids(first.members) == [place(n) for n in asked]
    for n in asked:
        assert ids(end(journal, n).wakes) == []
    assert not journal.read(lambda c: pages.placed(c, "p")).stopped
    journal.expand(claimed(journal, "p"), ended_before(page(2, 2, 5, at_once), *before)).result(
        SOON
    )
    assert world.join("p").state == "open"
    last = journal.expand(
        claimed(journal, "p"), ended_before(page(4, 1, 5, at_once), *before)
    ).result(SOON)
    assert ids(last.wakes) == ["p"]
    assert journal.tally("p").succeeded == 5
    join = world.join("p")
    assert (join.state, join.done, join.expected) == ("fired", len(asked), len(asked))


def test_whoever_answered_an_earlier_run_has_no_turn_in_this_one(
    world: World, journal: Journal
) -> None:
    parent = claimed(journal, "p", step("p", task="agents.map", agent=None))
    done = Outcome(state=State.SUCCEEDED, value="x", agent="another")
    had, has = member("0", agent="another", ended=done), member("1", agent="b")
    join = JoinPolicy(max_concurrent=2)
    more = PageOfMembers(start=0, expected=4, turn=0, more=True)
    first = Expand(members=(had, has), join=join, page=more)
    nobodys = Expand(
        members=tuple(member(n, agent=None, options={}) for n in "23"),
        join=join,
        page=PageOfMembers(start=2, expected=4, turn=1),
    )
    assert ids(journal.expand(parent, first).result(SOON).members) == [place(1)]
    end(journal, 1)
    journal.expand(claimed(journal, "p"), nobodys).result(SOON)
    assert [world.row(place(n)).agent for n in range(4)] == ["another", "b", "b", "b"]


def test_a_page_that_the_cost_forbids_leaves_those_before_it_their_turns(
    world: World, journal: Journal
) -> None:
    parent = claimed(journal, "p", step("p", task="agents.map", agent=None))
    assert ids(journal.expand(parent, page(0, 3, 9, 1)).result(SOON).members) == [place(0)]
    paid = claimed(journal, place(0))
    second = claimed(journal, "p")
    pay(journal, paid, 1.0)
    bounds = journal.bounds.of(second, {"max_cost": 0.5})
    found = journal.expand(second, page(3, 6, 9, 1), bounds=bounds).result(SOON)
    assert (found.members, len(found.ended)) == ([], 6)
    assert ids(journal.finish(paid, DONE).result(SOON).wakes) == [place(1)]
    assert ids(end(journal, 1).wakes) == [place(2)]
    assert ids(end(journal, 2).wakes) == ["p"]
    join = world.join("p")
    assert (join.state, join.done, join.succeeded) == ("fired", 9, 3)


def test_one_timer_is_of_all_pages(journal: Journal) -> None:
    def timed(what: Expand) -> Expand:
        return what.model_copy(update={"join": JoinPolicy(timeout_s=60)})

    parent = claimed(journal, "p", step("p", task="agents.map", agent=None))
    assert journal.expand(parent, timed(page(0, 1, 2, None))).result(SOON).timer is not None
    second = claimed(journal, "p")
    assert journal.expand(second, timed(page(1, 1, 2, None))).result(SOON).timer is None


def test_one_that_died_amid_its_pages_goes_on_where_it_was(world: World, journal: Journal) -> None:
    parent = claimed(journal, "p", step("p", task="agents.map", agent=None))
    journal.expand(parent, page(0, 2, 4, 2)).result(SOON)
    claimed(journal, "p")
    die(world, journal, "p")
    assert ids(end(journal, 0).wakes) == []  # what had begun goes on
    requeue(journal, "p")
    again = claimed(journal, "p")
    assert journal.read(lambda c: pages.placed(c, "p")) == pages.ExpandedPages(2)
    assert ids(journal.expand(again, page(2, 2, 4, 2)).result(SOON).members) == [place(2)]
    wakes = [ids(end(journal, n).wakes) for n in (1, 2, 3)]
    assert wakes == [[place(3)], [], ["p"]]
    assert journal.tally("p").succeeded == 4
