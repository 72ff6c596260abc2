from __future__ import annotations

from typing import Any

import pytest

from agents.plan import Tally
from app.journal import Journal
from app.journal.queries import tallies
from app.journal.schema.rows import Claimed
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.errors import InvalidPayloadError
from tests.unit.app.journal.support import DONE, FAILED, SOON, World, expand, plan

FREE = Outcome(state=State.SUCCEEDED, value={"a": "ü"})


def end(journal: Journal, claim: Claimed, outcome: Outcome) -> None:
    journal.finish(claim, outcome).result(SOON)


def places(page: dict[str, Any]) -> list[int]:
    return [place for place, _ in page["outcomes"]]


def test_members_are_counted_with_their_cost_and_errors(world: World, journal: Journal) -> None:
    a, b, c, d, _ = expand(journal, "p", plan(*"abcde"))
    end(journal, a, DONE)
    end(journal, b, FAILED)
    end(journal, c, DONE)
    end(journal, d, FREE)
    found = journal.tally("p", values_within=10_000)
    assert (found.total, found.succeeded, found.failed) == (5, 3, 1)
    assert found.usage == Usage(calls=2, cost_usd=1.0)
    assert found.errors == ((1, ErrorInfo(kind="agent_failed", message="no")),)
    assert found.values == ("yes", None, "yes", {"a": "ü"}, None)
    assert journal.tally("nobody") == Tally()
    world.set(b.id, state="dead")
    assert journal.tally("p").failed == 1


def test_a_price_that_nobody_knows_makes_the_sum_unknown(journal: Journal) -> None:
    a, b = expand(journal, "p", plan("a", "b"))
    end(journal, a, DONE)
    end(journal, b, Outcome(state=State.SUCCEEDED, usage=Usage(calls=1, cost_usd=None)))
    assert journal.tally("p").usage == Usage(calls=2, cost_usd=None)


def test_values_are_read_while_they_are_small(journal: Journal) -> None:
    a, b = expand(journal, "p", plan("a", "b"))
    end(journal, a, Outcome(state=State.SUCCEEDED, value="x" * 400))
    end(journal, b, Outcome(state=State.SUCCEEDED, value="y" * 400))
    assert journal.tally("p", values_within=2_000).values == ("x" * 400, "y" * 400)
    assert journal.tally("p", values_within=800).values is None


def test_only_the_first_errors_are_told(journal: Journal) -> None:
    for claim in reversed(expand(journal, "p", plan(*map(str, range(15))))):
        end(journal, claim, FAILED)
    found = journal.tally("p")
    assert [place for place, _ in found.errors] == list(range(10))
    assert found.failed == 15


def test_outcomes_come_in_pages(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "PAGE_ROWS", 2)
    members = expand(journal, "p", plan(*"abcde"))
    for claim in (members[4], members[0], members[1], members[3]):
        end(journal, claim, DONE)
    first = journal.results("p", -1)
    assert (places(first), first["more"]) == ([0, 1], 1)
    second = journal.results("p", 1)
    assert (places(second), second["more"]) == ([3, 4], None)  # the third has not ended
    assert Outcome.model_validate(second["outcomes"][0][1]).value == "yes"
    assert journal.results("p", 4) == {"outcomes": [], "more": None}


def test_a_page_ends_sooner_where_outcomes_are_big(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tallies, "PAGE_CHARACTERS", 1_000)
    for claim in expand(journal, "p", plan(*"abcd")):
        size = 5_000 if claim.member == "c" else 300
        end(journal, claim, Outcome(state=State.SUCCEEDED, value="x" * size))
    found: list[list[int]] = []
    after: int | None = -1
    while after is not None:
        page = journal.results("p", after)
        found.append(places(page))
        after = page["more"]
    assert found == [[0, 1], [2], [3]]  # one is always in it


def test_a_step_that_is_not_there(journal: Journal) -> None:
    with pytest.raises(InvalidPayloadError, match="no step nobody"):
        journal.results("nobody", -1)


@pytest.mark.parametrize(
    "value",
    ["a\0b", "\ud83d", {"\0": ["\ud83d"]}, {"usage": {"calls": 9}}, '"usage":{"calls":9}', 10**999],
)
def test_no_value_spoils_the_others(world: World, journal: Journal, value: Any) -> None:
    """PostgreSQL cannot look into the JSON of some: what is asked of all may not do so."""
    a, b, c = expand(journal, "p", plan("a", "b", "c"))
    end(journal, a, Outcome(state=State.SUCCEEDED, value=value))
    end(journal, b, DONE.model_copy(update={"value": value, "agent": "other"}))
    error = ErrorInfo(kind="agent_failed", message="no", details={"of": value})
    end(journal, c, Outcome(state=State.FAILED, error=error, usage=Usage(calls=1)))
    found = journal.tally("p", values_within=10_000)
    assert (found.succeeded, found.failed, found.values) == (2, 1, (value, value, None))
    assert found.usage == Usage(calls=2, cost_usd=0.5)
    assert found.errors[0][1].details == {"of": value}
    assert [o["state"] for _, o in journal.results("p", -1)["outcomes"]][2] == "failed"
    tree = journal.run_tree("p")
    assert tree is not None
    assert [s["usage"] for s in tree["steps"]][1:] == [
        None,
        {"calls": 1, "cost_usd": 0.5},
        {"calls": 1},
    ]
