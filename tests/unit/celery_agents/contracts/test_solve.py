from __future__ import annotations

import json
from typing import Any

import pytest

from celery_agents import Ask, Fallback, Gather, Map, Strategy, Vote
from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.teams.solve import Solve
from celery_agents.errors import InvalidPayloadError

VOTE = Vote.model_validate({"voters": ["a", "b"], "rule": "plurality"})


@pytest.mark.parametrize(
    ("given", "verb", "name"),
    [
        ("gpt", "ask", "gpt"),
        (Ask(agent="gpt", instructions="Be brief."), "ask", "gpt"),
        (VOTE, "vote", "vote(a, b)"),
        (Fallback.model_validate({"candidates": ["a"]}), "fallback", "fallback(a)"),
        (Gather.model_validate({"agents": ["a"]}), "gather", "gather(a)"),
        ({"verb": "vote", "options": VOTE, "name": "panel"}, "vote", "panel"),
        ({"options": VOTE}, "vote", "vote(a, b)"),
        ({"verb": "vote", "options": {"voters": ["a"] * 3}}, "vote", "vote(a, a#2, a#3)"),
    ],
)
def test_what_is_a_strategy(given: Any, verb: str, name: str) -> None:
    found = Strategy.model_validate(given)
    assert (found.verb, found.name) == (verb, name)
    assert isinstance(found.request, StepOptions)
    told = json.loads(json.dumps(found.compact()))
    assert Strategy.model_validate(told) == found


@pytest.mark.parametrize(
    ("strategies", "why"),
    [
        ([], "strategies: "),
        (["a"] * 21, "strategies: "),
        ([Map(agent="a")], "a Map is no strategy"),
        ([{"verb": "map", "options": {"agent": "a"}}], "verb"),
        ([{"verb": ["ask"], "options": {"agent": "a"}}], "verb"),
        ([{"verb": {}, "options": {"agent": "a"}}], "verb"),
        ([{"verb": "vote", "options": {"voters": []}}], r"options\.voters"),
        ([{"verb": "vote", "options": {"voters": ["a"], "rul": "x"}}], r"options\.rul"),
        ([{"verb": "ask", "options": 3}], "options: "),
        ([{"verb": "ask", "options": {"agent": "a", "session": "s"}}], r"options\.session"),
        ([{"verb": "ask", "options": {"agent": "a", "webhook": "https://x.org"}}], "webhook"),
    ],
)
def test_what_is_none_is_told_where(strategies: list[Any], why: str) -> None:
    with pytest.raises(InvalidPayloadError, match=why):
        Solve.from_message(["x"], {"strategies": strategies})


def test_strategies_of_one_name_are_numbered() -> None:
    found = Solve.model_validate({"strategies": ["a", "a", VOTE, VOTE]})
    names = ["a", "a#2", "vote(a, b)", "vote(a, b)#2"]
    assert [one.name for one in found.strategies] == names
    assert Solve.from_message([], found.message_options()) == found


def test_a_long_name_is_cut_and_tells_apart() -> None:
    def name(last: str) -> str:
        voters = [f"agent-{n}" for n in range(40)] + [last]
        return Strategy.model_validate({"verb": "vote", "options": {"voters": voters}}).name

    assert name("x") != name("y")
    assert len(name("x")) < 130


@pytest.mark.parametrize(
    ("options", "ballots"),
    [({}, 6), ({"tries": 1}, 5), ({"tries": 1, "select": "s"}, 6)],
)
def test_all_that_may_be_paid_counts(options: dict[str, Any], ballots: int) -> None:
    five = {"verb": "vote", "options": {"voters": list("abcde")}}
    assert Solve.model_validate({"strategies": ["a", five], **options}).ballots == ballots
