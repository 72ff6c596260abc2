from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import delete, func, select

from agents.plan import Expand
from app.journal import Journal
from app.journal.schema.models import Step
from app.journal.schema.rows import Refusal, derived_id
from app.journal.steps import due
from app.journal.steps.caps import Caps
from app.journal.steps.claims import ClaimStep
from celery_agents.contracts.outcome import Outcome, State
from tests.unit.app.journal.support import (
    DONE,
    SOON,
    TIRED,
    World,
    claimed,
    expand,
    finished,
    ids,
    member,
    plan,
    refused,
    step,
)

pytestmark = pytest.mark.databases("both")


def test_a_ready_step_ends(world: World, journal: Journal) -> None:
    journal.postpone(claimed(journal, "s", step()), delay_s=0, error=TIRED).result(SOON)
    after = journal.cancel("s")
    assert (after.applied, ids(after.wakes), after.cancels) == (True, ["s"], [])
    assert (world.row("s").state, world.run("s").state) == ("cancelled", "cancelled")
    assert finished(journal, "s").outcome.state is State.CANCELLED
    assert world.events("s")[-1][0] == "cancel"


def test_a_running_step_is_asked_to_stop(world: World, journal: Journal) -> None:
    claim = claimed(journal, "s", step())
    after = world.journal("other").cancel("s")
    assert (after.applied, after.wakes, after.cancels) == (True, [], ["s"])
    assert world.row("s").state == "running"
    assert journal.beat().cancelled == ["s"]
    # It was done when it heard of it: work that was paid for is kept.
    assert journal.finish(claim, DONE).result(SOON).applied
    assert world.run("s").state == "succeeded"


def test_a_waiting_pattern_ends_with_its_tree(world: World, journal: Journal) -> None:
    leaf, nested = expand(journal, "p", plan("leaf", "nested"))
    made = journal.expand(nested, plan("x", "y")).result(SOON)
    below = claimed(journal, made.members[0].id)
    after = journal.cancel("p")
    assert (ids(after.wakes), sorted(after.cancels)) == (["p"], sorted([leaf.id, below.id]))
    assert world.row("p").state == "cancelled"
    assert world.states("p", ["leaf", "nested"]) == ["running", "cancelled"]
    assert world.states(nested.id, "xy") == ["running", "cancelled"]
    for claim in (leaf, below):
        journal.finish(claim, Outcome(state=State.CANCELLED)).result(SOON)
    assert world.row("p").state == "cancelled"
    assert finished(journal, made.members[1].id).outcome.state is State.CANCELLED


def test_a_cancelled_member_counts_in_its_join(journal: Journal) -> None:
    a, b = expand(journal, "p", plan("a", "b"))
    journal.postpone(a, delay_s=50).result(SOON)
    assert journal.cancel(a.id).wakes == []
    assert ids(journal.finish(b, DONE).result(SOON).wakes) == ["p"]


def test_a_step_is_cancelled_before_it_has_a_row(world: World, journal: Journal) -> None:
    assert journal.cancel("s").applied
    assert not world.row("s").settled  # its own message may be lost: recovery stores its result
    found = finished(journal, "s", step())
    assert (found.outcome.state, found.parent_id) == (State.CANCELLED, None)
    assert world.run("s").state == "cancelled"


def test_a_finished_run_is_not_cancelled(world: World, journal: Journal) -> None:
    journal.finish(claimed(journal, "s", step()), DONE).result(SOON)
    assert not journal.cancel("s").applied
    assert world.row("s").state == "succeeded"
    assert not journal.cancel("s").applied


def test_twice_is_as_once(journal: Journal) -> None:
    claimed(journal, "s", step())
    assert journal.cancel("s") == journal.cancel("s")
    assert journal.cancel("never seen").applied
    assert not journal.cancel("never seen").applied


@pytest.mark.parametrize("new", [True, False], ids=["fresh", "ready"])
def test_a_step_that_is_claimed_at_that_moment_is_asked_to_stop(
    world: World, journal: Journal, new: bool
) -> None:
    if journal.engine.dialect.name == "sqlite":
        pytest.skip("SQLite writes one transaction after another")
    if not new:
        journal.postpone(claimed(journal, "s", step()), delay_s=0).result(SOON)
    other = world.journal("other")
    found: list[list[str]] = []
    cancelling = threading.Thread(target=lambda: found.append(journal.cancel("s").cancels))
    with other.engine.begin() as c:
        ClaimStep.apply(c, [ClaimStep("s", other.me.id, other.rules, step())])
        cancelling.start()
        cancelling.join(0.3)  # it waits for the row that this transaction holds
    cancelling.join(SOON)
    assert found == [["s"]]
    assert other.beat().cancelled == ["s"]
    assert refused(journal, "s") is Refusal.TAKEN


def test_a_step_that_is_cleaned_away_at_that_moment_is_no_more_to_be_cancelled(
    world: World, journal: Journal
) -> None:
    if journal.engine.dialect.name == "sqlite":
        pytest.skip("SQLite writes one transaction after another")
    journal.finish(claimed(journal, "s", step()), DONE).result(SOON)
    found: list[bool] = []
    cancelling = threading.Thread(target=lambda: found.append(journal.cancel("s").applied))
    with world.engine.begin() as c:
        c.execute(delete(Step).where(Step.id == "s"))
        cancelling.start()
        cancelling.join(0.3)  # it waits for the row that this transaction holds
    cancelling.join(SOON)
    assert found == [False]


def test_one_that_is_cancelled_before_it_arrives_gets_its_result(
    world: World, journal: Journal
) -> None:
    """Its message was lost: recovery, which finds the row, forgets the record of its arrival."""
    journal.cancel("s")
    world.set("s", wake_at=0.0)
    assert ids(journal.transaction(lambda c: due.unsettled(c, 10, 10, 300))) == ["s"]


def test_five_hundred_descendants_are_cancelled_at_once_and_nobody_is_born_after(
    world: World, journal: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 20 that wait for 24 each; 40 of those run, and would ask further ones."""
    rules = journal.rules
    journal.rules = type(rules)(rules.decided, rules.wake_grace_s, caps=Caps(steps=500))
    root = claimed(journal, "lead", step("lead"))
    journal.expand(root, team(20)).result(SOON)
    running = []
    for n in range(20):
        one = claimed(journal, derived_id("lead", f"ask:{n}"))
        made = journal.expand(one, team(24)).result(SOON)
        running += [claimed(journal, wake.id) for wake in made.members[:2]]
    begun = time.monotonic()
    after = journal.cancel("lead")
    took_s = time.monotonic() - begun
    with capsys.disabled():
        print(f" [500 descendants cancelled in {took_s:.3f} s, {world.engine.dialect.name}]")
    assert sorted(after.cancels) == sorted(claim.id for claim in running)
    assert states(world) == {"cancelled": 1 + 20 + 440, "running": 40}
    assert not any(journal.expand(one, team(5)).result(SOON).applied for one in running)
    for one in running:
        journal.finish(one, Outcome(state=State.CANCELLED)).result(SOON)
    assert states(world) == {"cancelled": 1 + 500}
    assert took_s < SOON  # 2 s on a quiet machine: it is told above


def team(size: int) -> Expand:
    return Expand(members=tuple(member(f"ask:{n}") for n in range(size)), team=True)


def states(world: World) -> dict[str, int]:
    with world.engine.connect() as c:
        found = c.execute(select(Step.state, func.count()).group_by(Step.state))
        return {State(state).value: number for state, number in found}
