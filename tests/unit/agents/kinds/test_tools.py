"""Agents that are nothing but tools."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.base import Answer, Turn
from agents.kinds.tools import ToolsBackend
from agents.plan import Expand
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.errors import AgentFailedError, ConfigurationError, InvalidPayloadError
from tests.support.memory_step import MemoryStep
from tests.support.toolsets import Shelf

HERE = "tests.support.toolsets"


def backend(*names: str, **about: Any) -> ToolsBackend:
    paths = tuple(f"{HERE}:{name}" for name in names or ("find", "fail", "charge"))
    return ToolsBackend(paths, who="desk", named={}, approve=about.pop("approve", {}), **about)


def call(tools: ToolsBackend, step: MemoryStep, tool: str, **arguments: Any) -> Answer | Expand:
    turn = Turn(input={"tool": tool, "arguments": arguments})
    return asyncio.run(tools.answer(turn, step))


def test_it_answers_what_the_tool_gives(step: MemoryStep) -> None:
    answer = call(backend(), step, "find", number=3)
    assert isinstance(answer, Answer)
    assert answer.value == {"number": 3}


def test_a_call_with_effects_is_journaled(step: MemoryStep) -> None:
    first = call(backend(), step, "charge", amount=3)
    assert call(backend(), step.again(), "charge", amount=3) == first
    assert len(step.finished) == 1


@pytest.mark.parametrize("arguments", [{"number": "x"}, {}, {"number": 1, "more": 2}])
def test_wrong_arguments_are_told(step: MemoryStep, arguments: dict[str, Any]) -> None:
    with pytest.raises(AgentFailedError, match="Wrong arguments"):
        call(backend(), step, "find", **arguments)


def test_a_tool_that_fails(step: MemoryStep) -> None:
    with pytest.raises(AgentFailedError, match="ValueError: oh"):
        call(backend(), step, "fail", text="oh")


@pytest.mark.parametrize("told", [None, "find", {}, {"tool": "nothing"}, {"tool": 1}, {"x": 1}])
def test_what_is_no_call_is_refused(step: MemoryStep, told: Any) -> None:
    with pytest.raises(InvalidPayloadError):
        asyncio.run(backend().answer(Turn(input=told), step))


def test_a_person_is_asked(step: MemoryStep) -> None:
    tools = backend(approve={"charge": "ask"})
    waits = call(tools, step, "charge", amount=3)
    assert isinstance(waits, Expand)
    (member,) = waits.members
    assert member.waits
    assert member.input == {"tool": "charge", "arguments": {"amount": 3}, "why": None}
    step.ended[member.key] = Outcome(state=State.SUCCEEDED, value="too dear")
    with pytest.raises(AgentFailedError, match="not approved: too dear"):
        call(tools, step.again(), "charge", amount=3)


def test_a_tool_waits_for_a_time_and_no_longer(step: MemoryStep) -> None:
    """Nobody ends its member but the join, at that time."""
    waits = call(backend("later"), step, "later", seconds=3_600)
    assert isinstance(waits, Expand)
    assert waits.join.timeout_s == pytest.approx(3_600, abs=1_800)
    step.ended[waits.members[0].key] = Outcome(state=State.SUCCEEDED)
    answer = call(backend("later"), step.again(), "later", seconds=3_600)
    assert isinstance(answer, Answer)
    assert answer.value == "it is time"


def test_others_are_told_of_its_tools() -> None:
    told = {tool["name"]: tool for tool in backend(as_tasks=("ch*",)).listed}
    assert told.keys() == {"find", "fail", "charge"}
    assert told["find"]["effects"] == "pure"
    assert told["charge"]["as_task"]
    assert "as_task" not in told["find"]
    parameters: Any = told["find"]["parameters"]
    assert parameters["properties"]["number"]["type"] == "integer"


def test_what_is_known_later_alone_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="cannot be offered"):
        ToolsBackend(("shelf",), who="desk", named={"shelf": Shelf([])}, approve={})
    with pytest.raises(ConfigurationError, match="agents are asked"):
        ToolsBackend(("agent:other",), who="desk", named={}, approve={})
