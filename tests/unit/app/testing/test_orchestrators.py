from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_agents import FlowContext
from celery_agents.contracts.outcome import State
from celery_agents.errors import (
    AgentFailedError,
    ConfigurationError,
    InvalidPayloadError,
    ProviderUnavailableError,
)
from celery_agents.testing import FlowTester, OrchestratorTester, ballots

VOTERS = ["a", "b", "c"]
CHOICES = ["yes", "no"]


def option_of(outcome: Any) -> Any:
    return outcome.value["option"]


def vote(**options: Any) -> OrchestratorTester:
    return OrchestratorTester("vote", "good?", voters=VOTERS, choices=CHOICES, **options)


def test_a_vote_ends_when_the_rest_cannot_matter() -> None:
    tester = vote()
    assert [m.key for m in tester.wanted] == VOTERS
    assert [m.agent for m in tester.wanted] == VOTERS
    tester.answer(a="yes", b="yes")
    assert tester.outcome is not None
    assert option_of(tester.outcome) == "yes"
    assert tester.wanted == []


def test_a_vote_without_a_decision() -> None:
    found = vote(rule="unanimous", stop="none").run({"a": "yes", "b": "no", "c": "no"})
    assert found.state is State.FAILED
    assert found.error is not None
    assert found.error.kind == "no_decision"


def test_a_fallback_goes_on_to_the_next() -> None:
    tester = OrchestratorTester("fallback", "x", candidates=["a", "b"])
    assert [m.key for m in tester.wanted] == ["a"]
    tester.answer(a=ProviderUnavailableError("down"))
    assert [m.key for m in tester.wanted] == ["b"]
    tester.answer(b="in its place")
    assert tester.outcome is not None
    assert tester.outcome.value == "in its place"


def test_a_race_ends_with_the_first() -> None:
    tester = OrchestratorTester("fallback", "x", candidates=VOTERS, strategy="parallel")
    assert len(tester.wanted) == 3
    tester.answer(b=AgentFailedError, c="first")
    assert tester.outcome is not None
    assert tester.outcome.value == "first"


def test_all_fail() -> None:
    tester = OrchestratorTester("fallback", "x", candidates=["a", "b"])
    found = tester.run(lambda member: AgentFailedError(f"not {member.key}"))
    assert found.error is not None
    assert found.error.kind == "all_failed"


def test_a_gathering() -> None:
    found = OrchestratorTester("gather", "x", agents=["a", "b"]).run({"a": {"x": 1}, "b": {"y": 2}})
    assert found.ok
    assert "x" in str(found.value)


def test_its_time_is_over() -> None:
    tester = vote(stop="none").answer(a="yes").time_out()
    assert tester.outcome is not None


def test_mistakes_of_a_test_are_told() -> None:
    with pytest.raises(ConfigurationError, match=r"Nobody waits for \['z'\]; it wants \['a', 'b'"):
        vote().answer(z="yes")
    with pytest.raises(ConfigurationError, match="It wants a"):
        vote().run({"b": "yes"})
    with pytest.raises(ConfigurationError, match="none of vote, fallback, gather"):
        OrchestratorTester("votes")
    with pytest.raises(InvalidPayloadError, match="voters"):
        OrchestratorTester("vote", "x", voters=[])


@given(told=ballots(VOTERS, CHOICES), order=st.permutations(VOTERS))
def test_whoever_is_decided_for_has_most_votes(told: dict[str, Any], order: list[str]) -> None:
    tester = vote(stop="none")
    tester.answer_all({key: told[key] for key in order})
    assert tester.outcome is not None
    votes = [end for end in told.values() if isinstance(end, str)]
    if tester.outcome.ok:
        option = option_of(tester.outcome)
        assert votes.count(option) == max(votes.count(o) for o in CHOICES)
    else:
        assert len(votes) < 3


@given(told=ballots(VOTERS, CHOICES, failures=False, confidence=True))
def test_ballots_with_confidences(told: dict[str, Any]) -> None:
    assert option_of(vote().run(told)) in CHOICES


async def reminds(ctx: FlowContext, name: str) -> str:
    first = await ctx.ask("asks", f"first {name}")
    await asyncio.sleep(3600)
    word = await ctx.signal("word")
    ctx.emit("told", "word", {"word": word})
    try:
        second = await ctx.ask("asks", f"second {name}")
    except AgentFailedError as error:
        second = error.message
    return f"{first}, {word}, {second}, {(ctx.now().timestamp()):.0f}"


def test_a_flow_step_by_step() -> None:
    tester = FlowTester(reminds, "Ada")
    begin = tester.now_s
    assert [(m.agent, m.input) for m in tester.wanted] == [("asks", "first Ada")]
    tester.answer("asks", "one")
    assert tester.wanted == []
    tester.skip(3599)
    tester.signal("word", "go")
    assert tester.wanted == []
    tester.skip(1)
    assert [m.input for m in tester.wanted] == ["second Ada"]
    assert tester.emitted == [("told", "word", {"word": "go"})]
    tester.answer("asks", AgentFailedError("no"))
    assert tester.outcome is not None
    assert tester.outcome.value == f"one, go, no, {begin + 3600:.0f}"
    assert [line.kind for line in tester.history] == [
        *("started", "done", "signal", "timer", "failed")
    ]


def test_a_flow_that_is_cancelled() -> None:
    tester = FlowTester(reminds, "Ada").cancel()
    assert tester.outcome is not None
    assert tester.outcome.state is State.CANCELLED


def test_a_flow_that_would_go_another_way_is_found() -> None:
    async def wavers(ctx: FlowContext, _: Any) -> Any:
        return await ctx.ask("asks", random.random())

    with pytest.raises(AgentFailedError, match="goes another way"):
        FlowTester(wavers)


def test_a_question_that_nobody_asked() -> None:
    with pytest.raises(ConfigurationError, match="Nobody waits for 'other'"):
        FlowTester(reminds, "Ada").answer("other", 1)
