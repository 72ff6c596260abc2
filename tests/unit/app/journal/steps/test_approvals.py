from __future__ import annotations

from typing import Any

import pytest

from agents.patterns.plan import Expand
from app.journal import Journal
from celery_agents import names
from celery_agents.errors import InvalidPayloadError
from tests.unit.app.journal.support import SOON, World, claimed, finished, ids, member, step


def ask_a_person(journal: Journal, *choices: str) -> None:
    one = member(
        "person", task=names.APPROVAL, input={"choices": list(choices)}, options={}, waits=True
    )
    journal.expand(claimed(journal, "p", step("p")), Expand(members=(one,))).result(SOON)


@pytest.mark.parametrize("choice", ["yes", {"option": "yes", "reason": "because"}])
def test_an_answer_wakes_the_run(world: World, journal: Journal, choice: Any) -> None:
    ask_a_person(journal, "yes", "no")
    after = journal.approve("p", choice)
    assert (after.applied, ids(after.wakes)) == (True, ["p"])
    (person,) = journal.members("p")
    assert person.outcome is not None
    assert (person.outcome.ok, person.outcome.value) == (True, choice)
    assert claimed(journal, "p").token == 2


def test_the_first_answer_counts(world: World, journal: Journal) -> None:
    ask_a_person(journal)
    journal.approve("p", "anything")
    with pytest.raises(InvalidPayloadError, match="Nothing in run p waits"):
        journal.approve("p", "something else")
    assert journal.members("p")[0].outcome.value == "anything"  # type: ignore[union-attr]  # it has one


def test_what_is_not_a_choice_is_refused(journal: Journal) -> None:
    ask_a_person(journal, "yes", "no")
    with pytest.raises(InvalidPayloadError, match="'maybe' is not one of yes, no"):
        journal.approve("p", "maybe")
    assert journal.approve("p", "no").applied


def test_nobody_waits(journal: Journal) -> None:
    with pytest.raises(InvalidPayloadError):
        journal.approve("p", "yes")


def test_a_cancelled_run_waits_for_nobody(journal: Journal) -> None:
    ask_a_person(journal)
    journal.cancel("p")
    with pytest.raises(InvalidPayloadError):
        journal.approve("p", "yes")
    assert finished(journal, "p").outcome.state == "cancelled"
