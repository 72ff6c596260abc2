from __future__ import annotations

from typing import Any

import pytest

from agents.plan import Expand
from app.journal import Journal
from app.journal.schema.rows import Aftermath, derived_id
from app.journal.steps import approvals
from celery_agents import names
from celery_agents.errors import InvalidPayloadError
from tests.unit.app.journal.support import (
    SOON,
    OnPostgres,
    World,
    claimed,
    finished,
    ids,
    lose_an_answer,
    meanwhile,
    member,
    step,
)


def ask_a_person(journal: Journal, *choices: str) -> None:
    ask_a_person_of(journal, "p", *choices)


def ask_a_person_of(journal: Journal, run_id: str, *choices: str) -> None:
    one = member(
        "person", task=names.APPROVAL, input={"choices": list(choices)}, options={}, waits=True
    )
    journal.expand(claimed(journal, run_id, step(run_id)), Expand(members=(one,))).result(SOON)


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


def wish_for(tool: str, **arguments: Any) -> Any:
    told = {"tool": tool, "arguments": arguments, "why": None}
    return member(f"@{tool}", task=names.APPROVAL, input=told, options={}, waits=True)


class TestWishes:
    """Tools that models want to call, which wait for a person."""

    def waiting(self, journal: Journal) -> dict[Any, str]:
        """Their keys by their tools."""
        wanted = Expand(members=(wish_for("pay", amount=7), wish_for("mail")))
        journal.expand(claimed(journal, "p", step("p")), wanted).result(SOON)
        return {w["tool"]: w["key"] for w in journal.wishes.list("p")}

    def test_those_of_a_run_and_of_all(self, journal: Journal) -> None:
        ask_a_person_of(journal, "q")
        keys = self.waiting(journal)
        assert [w["tool"] for w in journal.wishes.list()] == [None, "pay", "mail"]  # oldest first
        assert [w["run_id"] for w in journal.wishes.list()] == ["q", "p", "p"]
        assert len(journal.wishes.list(limit=2)) == 2
        (pay, _) = journal.wishes.list("p")
        assert (pay["arguments"], pay["key"]) == ({"amount": 7}, keys["pay"])

    def test_a_page_goes_on_behind_a_key_that_is_answered_too(self, journal: Journal) -> None:
        ask_a_person_of(journal, "q")
        keys = self.waiting(journal)

        def behind(key: str) -> list[str]:
            found = journal.read(lambda c: approvals.wishes(c, None, 9, None, key))
            return [wish["key"] for wish in found]

        (first, *_) = journal.wishes.list()
        assert behind(first["key"]) == [keys["pay"], keys["mail"]]
        journal.approve("p", True, keys["pay"])
        assert behind(keys["pay"]) == [keys["mail"]]
        assert behind(keys["mail"]) == []
        assert behind("gone") == [first["key"], keys["mail"]]

    @pytest.mark.parametrize("said", [True, False, "why?", {"arguments": {"amount": 1}}])
    def test_each_is_answered_by_its_key(self, journal: Journal, said: Any) -> None:
        keys = self.waiting(journal)
        assert not journal.approve("p", said, keys["mail"]).wakes
        assert [w["tool"] for w in journal.wishes.list("p")] == ["pay"]
        again = journal.approve("p", said, keys["mail"])  # as a message that came twice says it
        assert (again.applied, again.wakes) == (False, [])
        with pytest.raises(InvalidPayloadError, match=r"No wish .* waits"):
            journal.approve("p", "something else", keys["mail"])
        assert ids(journal.approve("p", said, keys["pay"]).wakes) == ["p"]
        assert journal.wishes.list() == []

    @pytest.mark.parametrize("said", [None, 7, "", {"option": "yes"}])
    def test_what_is_no_answer_is_refused(self, journal: Journal, said: Any) -> None:
        keys = self.waiting(journal)
        with pytest.raises(InvalidPayloadError, match="no answer to the wish for a tool"):
            journal.approve("p", said, keys["pay"])
        assert len(journal.wishes.list("p")) == 2

    def test_arguments_are_shown_as_they_are(self, journal: Journal) -> None:
        odd: dict[str, Any] = {
            "text": "a\x00b\u202e\x1b[2J",
            "all": "€" * 1_000_000,
            "deep": [[[{}]]],
        }
        wanted = Expand(members=(wish_for("n" * 64, **odd),))
        journal.expand(claimed(journal, "p", step("p")), wanted).result(SOON)
        (wish,) = journal.wishes.list("p")
        assert wish["arguments"] == odd
        assert journal.approve("p", {"arguments": odd}, wish["key"]).wakes
        (ended,) = journal.members("p")
        assert ended.outcome is not None
        assert ended.outcome.value == {"arguments": odd}

    def test_an_answer_without_a_key_lets_no_tool_be_called(self, journal: Journal) -> None:
        """It may have been meant for another one, which somebody has answered since."""
        self.waiting(journal)
        with pytest.raises(InvalidPayloadError, match="give the key of its wish"):
            journal.approve("p", True)
        assert len(journal.wishes.list("p")) == 2

    def test_a_key_of_another_run_is_none_of_this(self, journal: Journal) -> None:
        ask_a_person_of(journal, "q")
        keys = self.waiting(journal)
        with pytest.raises(InvalidPayloadError, match="waits for a person"):
            journal.approve("q", True, keys["pay"])


def test_nobody_waits(journal: Journal) -> None:
    with pytest.raises(InvalidPayloadError):
        journal.approve("p", "yes")


def test_a_cancelled_run_waits_for_nobody(journal: Journal) -> None:
    ask_a_person(journal)
    journal.cancel("p")
    with pytest.raises(InvalidPayloadError):
        journal.approve("p", "yes")
    assert finished(journal, "p").outcome.state == "cancelled"


def test_an_answer_of_which_no_word_comes_back_counts(
    world: World, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was committed, its answer was lost: the second try finds it, and wakes the run."""
    ask_a_person(journal, "yes", "no")
    lose_an_answer(monkeypatch, Aftermath)
    after = journal.approve("p", "yes")
    assert (after.applied, ids(after.wakes)) == (True, ["p"])
    assert [kind for kind, _ in world.events(derived_id("p", "person"))].count("approved") == 1


def test_an_answer_that_is_lost_answers_no_second_wish(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: Any = {"task": names.APPROVAL, "input": {"choices": None}, "options": {}, "waits": True}
    both = Expand(members=(member("a", **told), member("b", **told)))
    journal.expand(claimed(journal, "p", step("p")), both).result(SOON)
    lose_an_answer(monkeypatch, Aftermath)
    journal.approve("p", "yes")
    assert [w["key"] for w in journal.wishes.list("p")] == [derived_id("p", "b")]


class TestTwoAnswers(OnPostgres):
    def test_the_first_one_counts_and_the_other_is_told(
        self, world: World, journal: Journal
    ) -> None:
        ask_a_person(journal, "yes", "no")
        other = world.journal("other")

        def late() -> InvalidPayloadError:
            with pytest.raises(InvalidPayloadError, match="waits for a person") as told:
                other.approve("p", "no")
            return told.value

        with world.engine.connect() as c:
            answering = c.begin()
            person = derived_id("p", "person")
            assert approvals.approve(c, "p", "yes", journal.rules, person).applied
            with meanwhile(world, late):
                answering.commit()
        assert world.row(person).outcome["value"] == "yes"
        told = [data for kind, data in world.events(person) if kind == "approved"]
        assert told == [{"option": "yes"}]
