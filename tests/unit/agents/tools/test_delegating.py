"""Calls of other agents: which are members of the step, and what its model is told of each."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.plan import Expand, Member
from agents.tools import FunctionToolset, tool
from agents.tools.calls import ToolCall, ToolResult
from agents.tools.colleagues import Colleagues, OtherAgents
from agents.tools.delegating import Handoff
from agents.tools.policy import Approve
from agents.tools.running import Running
from agents.tools.toolbox import Toolbox
from celery_agents import AgentSpec, Ask, names
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from tests.support.memory_step import MemoryStep

made: list[str] = []


@tool(effects="effect")
async def note(text: str) -> str:
    """Notes."""
    made.append(text)
    return f"noted {text}"


@pytest.fixture(autouse=True)
def _nothing_made() -> None:
    made.clear()


Told = tuple[ToolResult, ...] | Expand


def answer(
    step: MemoryStep, *calls: tuple[str, Any], approve: dict[str, Approve] | None = None
) -> Told:
    """What comes of one reply, in a new attempt."""
    return answered(step, *calls, approve=approve)[0]


def answered(
    step: MemoryStep, *calls: tuple[str, Any], approve: dict[str, Approve] | None = None
) -> tuple[Told, Handoff | None]:
    """The same, and who goes on."""

    async def main() -> tuple[Told, Handoff | None]:
        known = OtherAgents(tools=lambda _: ("look", "note"))
        about: dict[str, Any] = {"spawn": ["writer"], "known": known}
        colleagues = Colleagues(["reviewer", "other"], ["billing", "tech"], **about)
        functions = FunctionToolset("desk", note)
        box = Toolbox(functions, (), colleagues, list_timeout_s=1, approve=approve)
        running = Running(await box.offered(step), step)
        told = [ToolCall(id=str(n), name=c[0], arguments=c[1]) for n, c in enumerate(calls)]
        return await running.answer(told), running.handoff

    return asyncio.run(main())


def members(found: tuple[ToolResult, ...] | Expand) -> tuple[Member, ...]:
    assert isinstance(found, Expand)
    return found.members


def values(found: tuple[ToolResult, ...] | Expand) -> list[Any]:
    assert isinstance(found, tuple)
    return [result.value for result in found]


ONE, TWO = ("ask_reviewer", {"input": "one"}), ("ask_reviewer", {"input": "two"})


def test_agents_are_asked_together_once_the_other_calls_are_made(step: MemoryStep) -> None:
    found = members(answer(step, ONE, ("note", {"text": "x"}), TWO, ONE))
    assert made == ["x"]
    assert [(m.task, m.agent, m.input) for m in found] == [
        (names.ASK, "reviewer", "one"),
        (names.ASK, "reviewer", "two"),
        (names.ASK, "reviewer", "one"),
    ]
    assert len({m.key for m in found}) == 3
    assert not any(m.waits for m in found)
    assert members(answer(step.again(), ONE, ("note", {"text": "x"}), TWO, ONE)) == found
    assert made == ["x"]  # an effect, which happened


def test_each_call_gets_the_answer_of_its_own_member(step: MemoryStep) -> None:
    first, second = members(answer(step, ONE, TWO))
    step.ended[second.key] = Outcome(state=State.SUCCEEDED, value={"fine": True})
    assert members(answer(step.again(), ONE, TWO)) == (first,)
    error = ErrorInfo(kind="bad_answer", message="it said nothing")
    step.ended[first.key] = Outcome(state=State.FAILED, error=error)
    found = answer(step.again(), TWO, ("ask_nobody", {}), ONE)
    told = ["There is no tool 'ask_nobody'.", "reviewer failed: it said nothing"]
    assert values(found) == [{"fine": True}, *told]
    assert isinstance(found, tuple)
    assert [result.failed for result in found] == [False, True, True]


def test_one_that_was_let_go_is_told_as_cancelled(step: MemoryStep) -> None:
    (one,) = members(answer(step, ONE))
    step.ended[one.key] = Outcome(state=State.SKIPPED)
    (told,) = values(answer(step.again(), ONE))
    assert told.startswith("reviewer failed: The step was cancelled")


def test_a_long_answer_is_cut_as_a_result_is(step: MemoryStep) -> None:
    (one,) = members(answer(step, ONE))
    step.ended[one.key] = Outcome(state=State.SUCCEEDED, value="x" * 100_000)
    (told,) = values(answer(step.again(), ONE))
    assert len(told) < 17_000
    assert "read_result" in told


@pytest.mark.parametrize("arguments", [{}, {"input": 7}, "x", None, {"input": "x", "more": 1}])
def test_wrong_arguments_ask_nobody(step: MemoryStep, arguments: Any) -> None:
    (told,) = values(answer(step, ("ask_reviewer", arguments)))
    assert "Wrong arguments" in told


def test_a_person_may_be_asked_first(step: MemoryStep) -> None:
    calls = (ONE, ("note", {"text": "x"}))
    (wish,) = members(answer(step, *calls, approve={"ask_*": "ask"}))
    assert (wish.waits, made) == (True, [])
    said = {"arguments": {"input": "only this"}}
    step.ended[wish.key] = Outcome(state=State.SUCCEEDED, value=said)
    (asked,) = members(answer(step.again(), *calls, approve={"ask_*": "ask"}))
    assert (asked.input, asked.key != wish.key) == ("only this", True)


def test_the_third_of_the_same_is_not_asked(step: MemoryStep) -> None:
    assert len(members(answer(step, ONE, ONE, ONE))) == 2


# ---------------------------------------------------------------- narrowed ones

POET = {"name": "poet", "instructions": "In rhymes.", "traits": ["terse"], "tools": ["look"]}


def test_a_model_narrows_an_agent_for_a_task(step: MemoryStep) -> None:
    spawned = ("spawn_writer", {"input": "Spring.", **POET})
    (one,) = members(answer(step, spawned))
    assert (one.agent, one.input) == ("writer", "Spring.")
    asked = Ask.from_message([one.input], one.options)
    assert asked.spec == AgentSpec.model_validate({"base": "writer", **POET})
    error = ErrorInfo(kind="bad_answer", message="no rhyme")
    step.ended[one.key] = Outcome(state=State.FAILED, error=error)
    assert values(answer(step.again(), spawned)) == ["poet failed: no rhyme"]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"tools": ["pay"]}, "arguments.tools[0]"),
        ({"traits": ["evil"]}, "arguments.traits[0]"),
        ({"name": "two words"}, "name"),
        ({"base": "treasurer"}, "base"),
        ({"api_key_env": "SECRET"}, "api_key_env"),
        ({"members": ["treasurer"]}, "members"),
    ],
)
def test_no_model_makes_more_of_an_agent_than_it_is(
    step: MemoryStep, more: dict[str, Any], why: str
) -> None:
    (told,) = values(answer(step, ("spawn_writer", {"input": "x", **more})))
    assert "Wrong arguments" in told
    assert why in told


# ---------------------------------------------------------------- handing over

BILLING: tuple[str, Any] = ("transfer_to_billing", {})
TECH: tuple[str, Any] = ("transfer_to_tech", {})
NOTE = ("note", {"text": "x"})


def test_the_other_calls_of_a_reply_are_answered_first(step: MemoryStep) -> None:
    (one,) = members(answer(step, BILLING, ONE, NOTE))
    assert (made, one.agent) == (["x"], "reviewer")
    step.ended[one.key] = Outcome(state=State.SUCCEEDED, value="fine")
    found, handoff = answered(step.again(), BILLING, ONE, NOTE)
    assert values(found) == ["billing goes on.", "fine", "noted x"]
    assert handoff is not None
    assert (handoff.agent, handoff.outcome) == ("billing", None)
    step.ended[handoff.key] = ended = Outcome(state=State.SUCCEEDED, value="paid")
    found, handoff = answered(step.again(), BILLING, ONE, NOTE)
    assert handoff is not None
    assert handoff.outcome == ended


def test_the_first_of_several_goes_on(step: MemoryStep) -> None:
    found, handoff = answered(step, TECH, BILLING, TECH)
    assert handoff is not None
    assert handoff.agent == "tech"
    late = "Not done: tech goes on with the conversation."
    assert values(found) == ["tech goes on.", late, late]


def test_a_model_is_told_that_nobody_goes_on_any_more(step: MemoryStep) -> None:
    _, handoff = answered(step, BILLING)
    assert handoff is not None
    error = ErrorInfo(kind="limit", message="It was handed over 5 times.")
    step.ended[handoff.key] = Outcome(state=State.FAILED, error=error)
    found, handoff = answered(step.again(), BILLING)
    assert values(found) == ["billing failed: It was handed over 5 times."]
    assert handoff is None


def test_a_reply_without_a_handoff_has_none(step: MemoryStep) -> None:
    assert answered(step, NOTE)[1] is None
    assert answered(step, ("transfer_to_nobody", {}))[1] is None


def test_a_handoff_that_a_person_refused(step: MemoryStep) -> None:
    (wish,) = members(answer(step, BILLING, approve={"transfer_to_*": "ask"}))
    step.ended[wish.key] = Outcome(state=State.SUCCEEDED, value="no")
    found, handoff = answered(step.again(), BILLING, approve={"transfer_to_*": "ask"})
    assert (values(found), handoff) == (["This call was not approved."], None)
