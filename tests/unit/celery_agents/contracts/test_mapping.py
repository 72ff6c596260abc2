from __future__ import annotations

from typing import Any

import pytest

from celery_agents.contracts.compensation import Compensation
from celery_agents.contracts.mapping import Map, MapFailure, MapResult, page_in, put_to
from celery_agents.contracts.patterns import Vote
from celery_agents.errors import InvalidPayloadError


def test_a_message_and_back() -> None:
    more = {"agent": "a", "wave": 5, "on_failure": "stop", "compensation": "u", "timeout_s": 9}
    found = Map.from_message([[1, None, {"a": []}]], more)
    assert found.input == [1, None, {"a": []}]
    assert found.compensation == Compensation(agent="u")
    assert found.whole_s == 9
    assert Map.from_message([found.input], found.message_options()) == found


def test_a_signature_has_no_inputs_yet() -> None:
    assert Map.from_message([], {"agent": "a"}).input is None


@pytest.mark.parametrize(
    ("inputs", "options", "told"),
    [
        ("text", {}, "input: "),
        ({"a": 1}, {}, "input: "),
        ([object()], {}, "input.0"),
        ([0] * 100_001, {}, "at most 100000"),
        ([1], {"wave": 0}, "wave: "),
        ([1], {"resumes": "r"}, "the run that is resumed"),
        ([1], {"max_concurrent": 0}, "max_concurrent: "),
        ([1], {"max_concurrent": 5, "wave": 5}, "max_concurrent or wave, not both"),
        ([1], {"on_failure": "cry"}, "on_failure: "),
        ([1], {"member_timeout_s": 0}, "member_timeout_s: "),
        ([1], {"agents": ["a"]}, "no two of them"),
        ([1], {"each": Vote(voters=("a",))}, "no two of them"),
        ([1], {"agent": "", "agents": [""]}, "agents"),
        ([1], {"agent": "", "agents": ["a", "b"], "assign": "any"}, "assign: "),
        ([1], {"agent": "", "agents": ["a", "b"], "assign": "least_busy"}, "max_concurrent"),
        (
            [1],
            {"agent": "", "agents": ["a", "b"], "assign": "least_busy", "max_concurrent": 1},
            "a turn for each agent",
        ),
        ([1], {"assign": "least_busy", "max_concurrent": 1}, "give agents"),
        ([1], {"agent": "", "each": {"verb": "map", "options": {}}}, "each.verb"),
        ([1], {"agent": "", "each": {"verb": "vote", "options": {}}}, "each: .*voters"),
        ([1], {"agent": "", "each": {"task": "agents.flow", "kwargs": {}}}, "each: "),
        ([1], {"agent": "", "each": {"task": ["agents.vote"], "kwargs": {}}}, "each: .*put to ask"),
        ([1], {"agent": "", "each": {"task": "agents.vote", "kwargs": [[]]}}, "each: "),
        (
            [1],
            {"agent": "", "each": {"task": "agents.ask", "args": [1], "kwargs": {"agent": "a"}}},
            "an input already",
        ),
        (
            [1],
            {"agent": "", "each": Vote(voters=("a",)), "instructions": "x"},
            "instructions: give it in each",
        ),
        ([1], {"agent": "", "each": Vote(voters=("a",)), "retry": {"max_attempts": 2}}, "retry: "),
    ],
)
def test_mistakes_are_told(inputs: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidPayloadError, match=told):
        Map.from_message([inputs], {n: v for n, v in {"agent": "a", **options}.items() if v != ""})


@pytest.mark.parametrize("results", [None, (), (1, None, "x")])
def test_results_survive_json(results: Any) -> None:
    """Not there is something else than none."""
    failure = MapFailure(index=1, kind="timeout", message="late")
    found = MapResult(count=3, succeeded=2, failed=1, results=results, failures=(failure,))
    assert MapResult.model_validate(found.compact()) == found


def test_an_agent_is_missing_where_no_run_is_resumed() -> None:
    with pytest.raises(InvalidPayloadError, match="agent"):
        Map.from_message([[1]], {})
    assert Map.from_message([], {"resumes": "r"}).resumes == "r"


@pytest.mark.parametrize(
    "each",
    [
        Vote(voters=("a", "b"), instructions="which"),
        {"verb": "vote", "options": {"voters": ["a", "b"], "instructions": "which"}},
        {"task": "agents.vote", "args": [], "kwargs": Vote(voters=("a", "b")).message_options()},
    ],
)
def test_a_panel_and_back(each: Any) -> None:
    found = Map.from_message([[1, 2]], put_to(each))
    assert found.each is not None
    assert (found.each.verb, found.ballots) == ("vote", 2)
    assert Map.from_message([found.input], found.message_options()) == found


def test_whom_inputs_are_put_to() -> None:
    assert put_to("a") == {"agent": "a"}
    assert put_to(("a", "b")) == {"agents": ("a", "b")}
    assert Map.from_message([[1]], put_to(["a", "b"])).agents == ("a", "b")


@pytest.mark.parametrize(
    "told",
    [
        None,
        {"inputs": [], "digest": "d"},
        {"inputs": [1] * 1_001, "digest": "d"},
        {"inputs": [1], "digest": None},
        {"inputs": [float("nan")], "digest": "d"},
        {"inputs": [{"a": float("inf")}], "digest": "d"},
    ],
)
def test_a_page_that_is_none(told: Any) -> None:
    with pytest.raises(InvalidPayloadError, match=r"inputs|digest"):
        page_in(told)
