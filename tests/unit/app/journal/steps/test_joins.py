from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from agents.plan import MemberState
from app.journal import Journal
from app.journal.schema import locks
from app.journal.schema.models import Join
from app.journal.schema.rows import Aftermath, Claimed, Refusal, derived_id
from app.journal.steps import due
from app.journal.steps.claims import ClaimStep
from app.journal.steps.expansions import ExpandStep
from app.journal.steps.finishes import FinishStep, PostponeStep
from celery_agents.contracts.outcome import Outcome, State
from tests.unit.app.journal.support import (
    DONE,
    FAILED,
    SOON,
    OnPostgres,
    World,
    batch,
    claimed,
    expand,
    finished,
    ids,
    meanwhile,
    plan,
    refused,
    step,
)

pytestmark = pytest.mark.databases("both")


def finish(journal: Journal, claim: Claimed, outcome: Outcome = DONE) -> Aftermath:
    return journal.finish(claim, outcome).result(SOON)


def test_all_fires_with_the_last_member(world: World, journal: Journal) -> None:
    a, b, c = expand(journal, "p", plan("a", "b", "c"))
    assert ids(finish(journal, a).wakes) == []
    assert ids(finish(journal, b, FAILED).wakes) == []
    assert world.row("p").state == "waiting"
    after = finish(journal, c)
    assert (ids(after.wakes), after.cancels) == (["p"], [])
    join = world.join("p")
    assert (join.state, join.done, join.succeeded, join.expected) == ("fired", 3, 2, 3)
    assert world.row("p").state == "ready"
    assert [(m.key, m.state) for m in journal.members("p")] == [
        ("a", "succeeded"),
        ("b", "failed"),
        ("c", "succeeded"),
    ]
    again = claimed(journal, "p")
    assert (again.attempt, again.token) == (1, 2)  # a new round is progress


def test_first_fires_with_the_first_success_and_lets_the_others_go(
    world: World, journal: Journal
) -> None:
    parent = claimed(journal, "p", step("p"))
    made = journal.expand(parent, plan("a", "b", "c", "d", kind="first")).result(SOON)
    a, b, c = (claimed(journal, w.id) for w in made.members[:3])
    assert finish(journal, a, FAILED).wakes == []
    after = finish(journal, b)
    assert (ids(after.wakes), after.cancels) == (["p"], [c.id])
    assert world.states("p", "abcd") == ["failed", "succeeded", "running", "skipped"]
    assert world.row(c.id).cancel_requested
    assert world.row(made.members[3].id).settled
    # The skipped one is answered without a call, the running one ends as it likes.
    skipped = finished(journal, made.members[3].id)
    assert skipped.outcome.state is State.SKIPPED
    assert finish(journal, c, Outcome(state=State.CANCELLED)).wakes == []
    assert world.join("p").done == 2


def test_first_fires_when_all_have_failed(journal: Journal) -> None:
    a, b = expand(journal, "p", plan("a", "b", kind="first"))
    assert finish(journal, a, FAILED).wakes == []
    assert ids(finish(journal, b, FAILED).wakes) == ["p"]


def test_unbroken_fires_with_the_first_that_fails(world: World, journal: Journal) -> None:
    a, b, c = expand(journal, "p", plan("a", "b", "c", kind="unbroken"))
    assert finish(journal, a).wakes == []
    after = finish(journal, b, FAILED)
    assert (ids(after.wakes), after.cancels) == (["p"], [c.id])
    assert world.states("p", "abc") == ["succeeded", "failed", "running"]


def test_unbroken_fires_when_all_have_succeeded(journal: Journal) -> None:
    a, b = expand(journal, "p", plan("a", "b", kind="unbroken"))
    assert finish(journal, a).wakes == []
    assert ids(finish(journal, b).wakes) == ["p"]


def test_decided_asks_the_rule_of_the_pattern(world: World) -> None:
    asked: list[tuple[str, dict[str, Any], list[MemberState]]] = []

    def decided(task: str, payload: dict[str, Any], members: list[MemberState]) -> bool:
        asked.append((task, payload, members))
        return sum(m.state is State.SUCCEEDED for m in members) == 2

    journal = world.journal(decided=decided)
    a, b, c = expand(journal, "p", plan("a", "b", "c", kind="decided"))
    assert finish(journal, a).wakes == []
    after = finish(journal, b)
    assert (ids(after.wakes), after.cancels) == (["p"], [c.id])
    task, payload, members = asked[-1]
    assert (task, payload) == ("agents.vote", world.row("p").payload)
    assert [m.outcome for m in members] == [DONE, DONE, None]


def test_decided_fires_when_all_have_ended_whatever_the_rule_says(journal: Journal) -> None:
    (one,) = expand(journal, "p", plan("a", kind="decided"))
    assert ids(finish(journal, one, FAILED).wakes) == ["p"]


def test_one_batch_fires_many_joins_once_each(journal: Journal) -> None:
    claims = [c for p in "pq" for c in expand(journal, p, plan("a", "b", "c"))]
    found = batch(journal, *(FinishStep(c, DONE, journal.rules) for c in claims))
    assert sorted(ids(w for f in found for w in f.wakes)) == ["p", "q"]


def test_a_late_finisher_counts_in_no_join(world: World, journal: Journal) -> None:
    a, b = expand(journal, "p", plan("a", "b"))
    world.end_lease(journal)
    other = world.journal("other")
    again = claimed(other, a.id)
    assert not finish(journal, a).applied
    assert world.join("p").done == 0
    finish(other, again)
    assert (world.join("p").done, finish(journal, b).applied) == (1, True)


# ---------------------------------------------------------------- rounds


def test_a_loser_of_one_round_does_not_count_in_the_next(world: World, journal: Journal) -> None:
    a, b = expand(journal, "p", plan("a", "b", kind="first"))
    finish(journal, a)
    c, d = expand(journal, "p", plan("c", "d"))
    finish(journal, b)  # the loser of round one ends only now
    assert (world.join("p").round, world.join("p").done) == (2, 0)
    assert finish(journal, c).wakes == []
    assert ids(finish(journal, d).wakes) == ["p"]
    assert [m.key for m in journal.members("p")] == ["a", "b", "c", "d"]


def test_a_kept_member_counts_in_the_round_that_lists_it_again(
    world: World, journal: Journal
) -> None:
    """As a hedge does: the first candidate runs on beside the second."""
    (slow,) = expand(journal, "p", plan("a", kind="first", timeout_s=100, keep=True))
    world.set_join("p", deadline_at=lambda now: now - 1)
    late = journal.transaction(lambda c: due.late_joins(c, 10, journal.rules))
    assert (ids(late.wakes), late.cancels) == (["p"], [])
    assert not world.row(slow.id).cancel_requested
    (fresh,) = expand(journal, "p", plan("a", "b", kind="first"))
    assert world.row(slow.id).round == 2
    after = finish(journal, slow)
    assert (ids(after.wakes), after.cancels) == (["p"], [fresh.id])


def test_members_that_would_be_kept_are_let_go_at_the_first_success(
    world: World, journal: Journal
) -> None:
    slow, quick = expand(journal, "p", plan("a", "b", kind="first", timeout_s=100, keep=True))
    after = finish(journal, quick)
    assert (ids(after.wakes), after.cancels) == (["p"], [slow.id])
    assert world.row(slow.id).cancel_requested


def test_a_round_of_members_that_have_all_ended_fires_at_once(
    world: World, journal: Journal
) -> None:
    (one,) = expand(journal, "p", plan("a"))
    finish(journal, one)
    again = journal.expand(claimed(journal, "p"), plan("a")).result(SOON)
    assert (again.members, ids(again.wakes)) == ([], ["p"])
    assert (world.join("p").done, world.join("p").succeeded) == (1, 1)


# ---------------------------------------------------------------- deadlines


def test_the_timers_message_fires_a_late_join(world: World, journal: Journal) -> None:
    parent = claimed(journal, "p", step("p"))
    made = journal.expand(parent, plan("a", "b", timeout_s=100)).result(SOON)
    running = claimed(journal, made.members[0].id)
    assert made.timer is not None
    assert made.timer.id == "p"
    assert refused(journal, "p") is Refusal.WAITING  # not yet
    world.set_join("p", deadline_at=lambda now: now - 1)
    again = claimed(journal, "p")
    assert again.let_go is not None
    assert again.let_go.cancels == [running.id]
    assert world.states("p", "ab") == ["running", "skipped"]
    assert world.row(running.id).cancel_requested
    assert finish(journal, running).wakes == []  # too late to count


def test_recovery_fires_a_join_whose_timer_was_lost(world: World, journal: Journal) -> None:
    expand(journal, "p", plan("a", timeout_s=100))
    expand(journal, "q", plan("a", timeout_s=100))

    def late() -> Aftermath:
        return journal.transaction(lambda c: due.late_joins(c, 10, journal.rules))

    assert late() == Aftermath()
    world.set_join("p", deadline_at=lambda now: now - 1)
    found = late()
    assert (ids(found.wakes), found.cancels) == (["p"], [derived_id("p", "a")])
    assert late() == Aftermath()
    assert claimed(journal, "p").token == 2


def test_the_members_that_ended_in_time_keep_their_outcome(world: World, journal: Journal) -> None:
    a, _ = expand(journal, "p", plan("a", "b", timeout_s=100))
    finish(journal, a)
    world.set_join("p", deadline_at=lambda now: now - 1)
    claimed(journal, "p")
    assert [m.outcome for m in journal.members("p")] == [DONE, None]


# ---------------------------------------------------------------- subtrees


def test_a_pattern_that_is_let_go_takes_its_subtree_along(world: World, journal: Journal) -> None:
    quick, nested = expand(journal, "p", plan("quick", "nested", kind="first"))
    below = journal.expand(nested, plan("x", "y")).result(SOON)
    running = claimed(journal, below.members[0].id)
    after = finish(journal, quick)
    assert after.cancels == [running.id]
    assert world.states("p", ["nested"]) == ["cancelled"]
    assert world.states(nested.id, "xy") == ["running", "skipped"]
    assert finish(journal, running).wakes == []  # nobody waits for it any more
    assert world.row(nested.id).state == "cancelled"


@pytest.mark.parametrize("what", ["claim", "expand", "postpone"])
def test_a_member_that_moves_while_its_join_fires_is_let_go_all_the_same(
    world: World, journal: Journal, what: str
) -> None:
    """Whatever the loser's own transaction is about to commit when the winner's looks."""
    if journal.engine.dialect.name == "sqlite":
        pytest.skip("SQLite writes one transaction after another")
    winner, loser = expand(journal, "p", plan("a", "b", kind="first"))
    other = world.journal("other")
    if what == "claim":
        journal.postpone(loser, delay_s=0).result(SOON)
    firing = threading.Thread(target=lambda: finish(journal, winner))
    with other.engine.begin() as c:
        match what:
            case "claim":
                ClaimStep.apply(c, [ClaimStep(loser.id, other.me.id, other.rules)])
            case "expand":
                ExpandStep.apply(c, [ExpandStep(loser, plan("x"), other.rules)])
            case _:
                how: Any = {"error": None, "cancelled": FAILED, "rules": other.rules}
                PostponeStep.apply(c, [PostponeStep(loser, delay_s=0, **how)])
        firing.start()
        firing.join(0.3)  # it waits for the row that this transaction holds
    firing.join(SOON)
    row = world.row(loser.id)
    assert (row.state, row.cancel_requested) in {
        ("running", True),
        ("skipped", True),
        ("cancelled", True),
    }


# ---------------------------------------------------------------- once, whoever completes it


def storm(world: World, works: list[Callable[[], Aftermath]]) -> list[Aftermath]:
    """Run these at once, from a thread each."""
    results: list[Aftermath] = []
    start = threading.Barrier(len(works))

    def one(work: Callable[[], Aftermath]) -> None:
        start.wait()
        results.append(work())

    threads = [threading.Thread(target=one, args=(w,)) for w in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert len(results) == len(works)
    return results


@pytest.mark.parametrize("kind", ["all", "first", "decided"])
def test_exactly_one_of_concurrent_finishers_fires(world: World, kind: str) -> None:
    rng = random.Random(kind)

    def half(_t: str, _p: dict[str, Any], members: list[MemberState]) -> bool:
        return sum(m.state.final for m in members) >= 2

    journals = [world.journal(f"w{n}", decided=half) for n in range(4)]
    for n in range(8):
        parent = f"p{n}"
        claims = [(rng.choice(journals), k) for k in "abcd"]
        first = claimed(journals[0], parent, step(parent))
        made = journals[0].expand(first, plan(*"abcd", kind=kind)).result(SOON)
        owned = [(j, claimed(j, w.id)) for (j, _), w in zip(claims, made.members, strict=True)]
        rng.shuffle(owned)
        outcomes = [rng.choice([DONE, FAILED]) for _ in owned]
        results = storm(
            world,
            [partial(finish, j, c, o) for (j, c), o in zip(owned, outcomes, strict=True)],
        )
        assert ids(w for r in results for w in r.wakes) == [parent]
        assert world.join(parent).state == "fired"
        assert world.row(parent).state == "ready"
        assert claimed(journals[1], parent).token == 2


def test_a_late_timer_and_the_last_finisher_fire_once(world: World) -> None:
    journals = [world.journal(f"w{n}") for n in range(2)]
    for n in range(8):
        parent = f"p{n}"
        (one,) = expand(journals[0], parent, plan("a", timeout_s=100))
        world.set_join(parent, deadline_at=lambda now: now - 1)
        results = storm(
            world,
            [
                partial(finish, journals[0], one),
                lambda: journals[1].transaction(lambda c: due.late_joins(c, 10, journals[1].rules)),
            ],
        )
        assert ids(w for r in results for w in r.wakes) == [parent]


def test_finishers_and_a_cancel_at_once_leave_nothing_open(world: World) -> None:
    journals = [world.journal(f"w{n}") for n in range(3)]
    for n in range(6):
        parent = f"p{n}"
        a, b = expand(journals[0], parent, plan("a", "b", kind="first"))
        storm(
            world,
            [
                partial(finish, journals[0], a),
                partial(finish, journals[1], b, FAILED),
                partial(journals[2].cancel, parent),
            ],
        )
        row = world.row(parent)
        assert row.state == "cancelled" or row.cancel_requested
        for one in (a, b):
            assert world.row(one.id).state != "ready"


def test_locks_are_asked_for_in_one_order(journal: Journal) -> None:
    with journal.engine.begin() as c:
        wanted = [("q", "r"), (None, "r"), ("p", "p"), ("q", "r"), ("", "r")]
        locks.lock(c, wanted)  # nothing there: no error either


class TestRounds(OnPostgres):
    @pytest.mark.parametrize("shoots", [True, False], ids=["by a shot", "in a transaction"])
    def test_a_member_that_ends_as_its_parent_begins_a_round_is_counted(
        self, world: World, journal: Journal, shoots: bool
    ) -> None:
        """m fails while the timer starts n beside it; its end is committed with one of another
        parent, whose join somebody holds."""
        x, _ = expand(journal, "a", plan("x", "y"))
        (m,) = expand(journal, "c", plan("m", kind="first", timeout_s=60, keep=True))
        x, m = replace(x, policy="all"), replace(m, policy="first")
        ends = [FinishStep(x, DONE, journal.rules), FinishStep(m, FAILED, journal.rules)]
        writer: Any = journal._writer
        commit = (lambda: writer._commit(list(ends))) if shoots else (lambda: batch(journal, *ends))
        other = world.journal("other")
        with world.engine.connect() as c:
            holding = c.begin()
            c.execute(select(Join.step_id).where(Join.step_id == "a").with_for_update())
            with meanwhile(world, commit):
                world.set_join("c", deadline_at=lambda now: now - 1)
                again = other.expand(claimed(other, "c"), plan("m", "n", kind="first"))
                assert ids(again.result(SOON).members) == [derived_id("c", "n")]
                holding.rollback()
        assert world.row(m.id).state == "failed"
        assert (world.join("c").round, world.join("c").done) == (2, 1)
        n = claimed(other, derived_id("c", "n"))
        assert ids(other.finish(n, FAILED).result(SOON).wakes) == ["c"]
