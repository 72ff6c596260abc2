"""How long a step took stands in its outcome, however it ended."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agents.plan import Expand
from app.journal import Journal
from app.journal.schema.rows import derived_id
from celery_agents import names
from celery_agents.contracts.outcome import Outcome
from tests.unit.app.journal.support import (
    SOON,
    TIRED,
    World,
    claimed,
    expand,
    finished,
    member,
    plan,
    step,
)

AGO_S = 50.0
Ends = Callable[[World, Journal], Outcome | None]


def begun(world: World, step_id: str) -> None:
    """Let it have begun that long ago."""
    world.set(step_id, started_at=lambda now: now - AGO_S)


def cancelled_between_two_attempts(world: World, journal: Journal) -> Outcome | None:
    journal.postpone(claimed(journal, "s", step()), delay_s=100, error=TIRED).result(SOON)
    begun(world, "s")
    journal.cancel("s")
    return finished(journal, "s").outcome


def cancelled_while_it_waits_for_members(world: World, journal: Journal) -> Outcome | None:
    expand(journal, "p", plan("a", "b"))
    begun(world, "p")
    journal.cancel("p")
    return finished(journal, "p").outcome


def dead(world: World, journal: Journal) -> Outcome | None:
    claimed(journal, "s", step(max_attempts=1))
    begun(world, "s")
    world.end_lease(journal)
    return finished(world.journal("other"), "s").outcome


def cancelled_when_its_worker_was_gone(world: World, journal: Journal) -> Outcome | None:
    claimed(journal, "s", step())
    begun(world, "s")
    journal.cancel("s")
    world.end_lease(journal)
    return finished(world.journal("other"), "s").outcome


def answered_by_a_person(world: World, journal: Journal) -> Outcome | None:
    one = member("person", task=names.APPROVAL, input={}, options={}, waits=True)
    expanded = journal.expand(claimed(journal, "p", step("p")), Expand(members=(one,)))
    assert expanded.result(SOON).applied
    world.set(derived_id("p", "person"), created_at=lambda now: now - AGO_S)
    journal.approve("p", "yes")
    return journal.members("p")[0].outcome


@pytest.mark.parametrize(
    "end",
    [
        cancelled_between_two_attempts,
        cancelled_while_it_waits_for_members,
        dead,
        cancelled_when_its_worker_was_gone,
        answered_by_a_person,
    ],
)
@pytest.mark.databases("both")
def test_ended_by_the_journal(world: World, journal: Journal, end: Ends) -> None:
    outcome = end(world, journal)
    assert outcome is not None
    assert outcome.duration_s == pytest.approx(AGO_S, abs=20)


def test_what_never_began_took_no_time(journal: Journal) -> None:
    journal.insert(step("s")).result(SOON)
    journal.cancel("s")
    assert finished(journal, "s").outcome.duration_s is None


def test_a_first_claim_counts_from_itself(journal: Journal) -> None:
    assert claimed(journal, "s", step()).elapsed_s == 0
    journal.insert(step("n")).result(SOON)
    assert claimed(journal, "n").spent_s == pytest.approx(0, abs=10)


@pytest.mark.parametrize("round_of_members", [False, True])
def test_a_later_claim_knows_how_long_ago_the_first_was(
    world: World, journal: Journal, round_of_members: bool
) -> None:
    if round_of_members:
        (one,) = expand(journal, "s", plan("a"))
        journal.finish(one, Outcome(state="succeeded")).result(SOON)
    else:
        journal.postpone(claimed(journal, "s", step()), delay_s=0, error=TIRED).result(SOON)
    begun(world, "s")
    assert claimed(world.journal("other"), "s").spent_s == pytest.approx(AGO_S, abs=20)


@pytest.mark.parametrize("by", ["a timer", "a batch with a new one"])
def test_the_long_way_of_a_claim_knows_it_too(world: World, journal: Journal, by: str) -> None:
    if by == "a timer":
        expand(journal, "s", plan("a", timeout_s=100))
        world.set_join("s", deadline_at=lambda now: now - 1)
    else:
        journal.postpone(claimed(journal, "s", step()), delay_s=0, error=TIRED).result(SOON)
    begun(world, "s")
    found = claimed(journal, "s", None if by == "a timer" else step())
    assert found.spent_s == pytest.approx(AGO_S, abs=20)


def test_a_clock_that_was_set_back_gives_no_negative_time(world: World, journal: Journal) -> None:
    journal.postpone(claimed(journal, "s", step()), delay_s=0, error=TIRED).result(SOON)
    world.set("s", started_at=lambda now: now + AGO_S)
    assert claimed(journal, "s").spent_s >= 0
