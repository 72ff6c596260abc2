"""Bodies are the contracts, and tell all agents that they ask."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from agents.catalog.panels import agents_of
from api.bodies import TaskBody, options_of

BODY: TypeAdapter[Any] = TypeAdapter(TaskBody)
VOTING = {"voters": ["c"]}
RANKED = {"voters": ["a"], "input": "?", "choices": ["x", "y"]}


@pytest.mark.parametrize(
    ("body", "agents"),
    [
        ({"task": "ask", "agent": "a", "compensation": "b"}, {"a", "b"}),
        ({"task": "ask", "agent": "a", "compensation": {"agent": "b"}}, {"a", "b"}),
        ({"task": "ask", "agent": "a", "input": {"agent": "no"}}, {"a"}),
        ({"task": "fallback", "candidates": ["a", {"agent": "b"}]}, {"a", "b"}),
        ({"task": "map", "agent": "a", "input": ["x"]}, {"a"}),
        ({"task": "map", "agents": ["a", "b"], "input": ["x"]}, {"a", "b"}),
        (
            {"task": "map", "each": {"verb": "vote", "options": {**VOTING, "escalate": "d"}}},
            {"c", "d"},
        ),
        ({"task": "map", "each": "a", "input": ["x"]}, {"a"}),
        ({"task": "map", "resumes": "r"}, {""}),  # whomever the earlier one asked
        ({"task": "map", "resumes": "r", "agents": ["a"]}, {"a"}),
        ({"task": "gather", "agents": ["a", "b"], "how": "best", "judge": "c"}, {"a", "b", "c"}),
        ({"task": "vote", **RANKED, "escalate": "s"}, {"a", "s"}),
        (
            {
                "task": "vote",
                **RANKED,
                "escalate": {"kind": "supervisor", "agent": "s", "backups": ["t"]},
            },
            {"a", "s", "t"},
        ),
        ({"task": "ask", "agent": "a", "spec": {"base": "a", "members": ["b"]}}, {"a", "b"}),
        ({"task": "team", "lead": "a", "members": "b"}, {"a", "b"}),
        (
            {
                "task": "team",
                "lead": "a",
                "members": ["b", {"base": "c", "name": "no", "members": [{"base": "d"}]}],
                "compensation": "e",
            },
            set("abcde"),
        ),
        (
            {
                "task": "solve",
                "work": "no",
                "select": "a",
                "strategies": [
                    "b",
                    {"verb": "vote", "options": {**VOTING, "escalate": "d"}, "name": "no"},
                    {"verb": "fallback", "options": {"candidates": ["e"]}},
                    {"verb": "ask", "options": {"agent": "f", "spec": {"base": "f"}}},
                    {
                        "verb": "gather",
                        "options": {"agents": ["g"], "how": "best", "judge": "h"},
                    },
                ],
            },
            set("abcdefgh"),
        ),
    ],
)
def test_all_agents_that_are_asked(body: dict[str, Any], agents: set[str]) -> None:
    assert set(agents_of(BODY.validate_python(body))) == agents


def test_options_are_those_of_the_contract() -> None:
    told = {"task": "ask", "agent": "a", "input": "x", "priority": 3, "tenant": "t", "timeout_s": 2}
    assert options_of(BODY.validate_python(told)) == {"agent": "a", "timeout_s": 2.0}


@pytest.mark.parametrize(
    "body",
    [
        {"task": "compensate"},
        {"agent": "a"},
        {"task": "ask", "agent": "a", "retries": 1},
        {"task": "start"},
        {"task": "start", "flow": "f", "version": 0},
    ],
)
def test_what_is_none(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        BODY.validate_python(body)
