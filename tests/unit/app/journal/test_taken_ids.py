"""Ids that can be told beforehand, taken by other runs: nobody is silenced, nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest

from app.journal import Journal
from app.journal.schema.rows import derived_id
from app.journal.steps import dead_letters
from celery_agents.contracts.compensation import Compensation, compensation_id
from celery_agents.errors import InvalidPayloadError
from tests.unit.app.journal.support import DONE, FAILED, SOON, World, claimed, plan, step

UNDOABLE = DONE.model_copy(update={"compensation": Compensation(agent="u")})


def finish(journal: Journal, claim: Any, outcome: Any = DONE) -> Any:
    return journal.finish(claim, outcome).result(SOON)


def squat(journal: Journal, step_id: str, how: str) -> None:
    """Another run under this id: it ended, runs, waits for its members, or was only cancelled."""
    if how == "cancelled":
        journal.cancel(step_id)
        return
    held = claimed(journal, step_id, step(step_id))
    if how == "ended":
        finish(journal, held)
    elif how == "waits":
        journal.expand(held, plan("x")).result(SOON)


@pytest.mark.parametrize("how", ["ended", "runs", "waits", "cancelled"])
def test_a_member_whose_id_is_taken_has_another_one(
    world: World, journal: Journal, how: str
) -> None:
    squat(journal, derived_id("p", "a"), how)
    parent = claimed(journal, "p", step("p"))
    made = journal.expand(parent, plan("a", "b")).result(SOON)
    assert len(made.members) == 2
    for wake in made.members:
        finish(journal, claimed(journal, wake.id))
    assert {m.key: str(m.state) for m in journal.members("p")} == {
        "a": "succeeded",
        "b": "succeeded",
    }
    assert world.row("p").state == "ready"


def test_it_keeps_that_id_in_later_rounds(world: World, journal: Journal) -> None:
    squat(journal, derived_id("p", "a"), "ended")
    parent = claimed(journal, "p", step("p"))
    first = journal.expand(parent, plan("a")).result(SOON)
    finish(journal, claimed(journal, first.members[0].id))
    again = claimed(journal, "p")
    second = journal.expand(again, plan("a", "b")).result(SOON)
    assert len(second.members) == 1  # "a" is there
    assert [m.key for m in journal.members("p")] == ["a", "b"]


def test_when_all_its_ids_are_taken_the_run_says_so(journal: Journal) -> None:
    for key in ["a", *(f"a\0{n}" for n in range(1, 6))]:
        squat(journal, derived_id("p", key), "ended")
    parent = claimed(journal, "p", step("p"))
    with pytest.raises(ValueError, match="name other runs"):
        journal.expand(parent, plan("a")).result(SOON)


@pytest.mark.parametrize("how", ["ended", "runs", "waits"])
def test_a_run_that_cannot_be_undone_is_a_dead_letter(journal: Journal, how: str) -> None:
    squat(journal, compensation_id("p"), how)
    parent = claimed(journal, "p", step("p"))
    (wake,) = journal.expand(parent, plan("a")).result(SOON).members
    finish(journal, claimed(journal, wake.id), UNDOABLE)
    assert finish(journal, claimed(journal, "p"), FAILED).wakes == []
    (letter,) = journal.read(lambda c: dead_letters.listed(c, 10))
    assert letter["cause"] == "id_in_use"
    assert "p was not undone" in letter["reason"]
    with pytest.raises(InvalidPayloadError):
        journal.transaction(lambda c: dead_letters.requeue_step(c, letter["id"], 1.0))
