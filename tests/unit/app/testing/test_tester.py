from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from celery_agents import StepContext, agent
from celery_agents.errors import (
    AgentFailedError,
    ConfigurationError,
    RateLimitedError,
    UnknownAgentError,
)
from celery_agents.testing import AgentTester

CONFIG = """
[agents.triage]
kind = "openai"
model = "gpt-5-mini"
instructions = "Sort."
tools = ["tests.unit.app.testing.test_tester:order", "tests.unit.app.testing.test_tester:refund",
         "agent:helper"]
price = { input_usd = 1.0, output_usd = 2.0 }

[agents.helper]
kind = "anthropic"
model = "claude-sonnet-4-5"
price = { input_usd = 1.0, output_usd = 2.0 }
"""
refunded: list[int] = []


def order(number: int) -> str:
    """Look up an order."""
    return f"order {number} was sent"


def refund(number: int) -> str:
    """Pay an order back."""
    refunded.append(number)
    return "paid back"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "agents.toml"
    file.write_text(CONFIG + '\n[agents.triage.approve]\nrefund = "ask"\n')
    return file


@pytest.fixture
def triage(config: Path) -> AgentTester:
    return AgentTester("triage", config=config)


def test_a_model_answers_as_written(triage: AgentTester) -> None:
    triage.script.answers("refund", {"a": 1})
    first = triage.ask("charged twice", instructions="Be brief.")
    assert first.value == "refund"
    assert first.usage.calls == 1
    assert first.usage.cost_usd == pytest.approx(140e-6)
    assert [call.name for call in first.calls] == ["model:openai/gpt-5-mini"]
    assert triage.ask("again").value == '{"a": 1}'
    assert triage.ask("the last one repeats").value == '{"a": 1}'
    asked = triage.script.asked
    assert [one["input"] for one in asked] == ["charged twice", "again", "the last one repeats"]
    assert "Sort." in asked[0]["system"]
    assert "Be brief." in asked[0]["system"]


def test_tools_are_called(triage: AgentTester) -> None:
    triage.script.calls("order", number=7).answers("it was sent")
    found = triage.ask("where is it?")
    assert found.value == "it was sent"
    assert triage.script.asked[1]["results"] == ["order 7 was sent"]
    assert found.usage.calls == 2
    assert len(found.calls) == 3


def test_a_vote_gets_a_ballot(triage: AgentTester) -> None:
    triage.script.answers("no")
    found: Any = triage.ask("good?", choices=["yes", "no"]).value
    assert found["option"] == "no"


def test_a_malformed_answer_is_asked_again(triage: AgentTester) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    triage.script.answers("no JSON", {"n": 3})
    assert triage.ask("how many?", answer_schema=schema).value == {"n": 3}
    assert len(triage.script.asked[1]["complaints"]) == 1


def test_errors(triage: AgentTester) -> None:
    triage.script.fails(RateLimitedError, "slow down", retry_after=2).fails("refused")
    with pytest.raises(RateLimitedError, match="slow down") as raised:
        triage.ask("x")
    assert raised.value.retry_after_s == 2
    with pytest.raises(Exception, match="scripted") as refused:
        triage.ask("x")
    assert getattr(refused.value, "kind", "") == "refused"
    with pytest.raises(ValueError, match="must be one of"):
        triage.script.fails("nonsense")


def test_without_a_script_no_model_is_asked(triage: AgentTester) -> None:
    with pytest.raises(AgentFailedError, match=r"scripted\('triage'\)"):
        triage.ask("x")


def test_streams(triage: AgentTester) -> None:
    triage.script.streams("hel", "lo", pause=0)
    found = triage.ask("x", stream=True)
    assert found.value == "hello"
    assert "".join(data for kind, data in found.events if kind == "text") == "hello"


def test_replies_to_some_inputs(triage: AgentTester) -> None:
    triage.script.when("order").answers("first", "second")
    triage.script.answers("else")
    told = [triage.ask(text).value for text in ("an order", "hello", "an order", "the order")]
    assert told == ["first", "else", "second", "second"]


def test_another_agent_is_asked(triage: AgentTester) -> None:
    triage.scripted("helper").answers("ask the boss")
    triage.script.calls("ask_helper", input="who knows?").answers("the boss")
    assert triage.ask("who?").value == "the boss"
    assert triage.scripted("helper").asked[0]["input"] == "who knows?"


@pytest.mark.parametrize("yes", [True, False])
def test_wishes_are_answered(config: Path, yes: bool) -> None:
    refunded.clear()
    tester = AgentTester(
        "triage", config=config, approve=lambda wish: yes and wish["tool"] == "refund"
    )
    tester.script.calls("refund", number=7).answers("done")
    found = tester.ask("money back")
    assert (found.value, refunded) == ("done", [7] if yes else [])
    assert [wish["arguments"] for wish in found.wishes] == [{"number": 7}]


def test_a_function() -> None:
    @agent(name="counts", effects="effect")
    async def counts(text: str, step: StepContext) -> Any:
        first = await step.call("count", lambda: len(text))
        step.emit("counted", "text", {"n": first.value})
        await step.progress(done=1)
        return [first.value, await step.ask("counts_more", text)]

    with pytest.raises(UnknownAgentError, match="counts_more"):
        AgentTester(counts).ask("four")
    tester = AgentTester(lambda text: text.upper())
    assert tester.ask("loud").value == "LOUD"
    tester.script.answers("instead")
    assert tester.ask("loud").value == "instead"


def test_what_it_says_of_its_work() -> None:
    @agent(name="tells")
    async def tells(text: str, step: StepContext) -> str:
        step.emit("told", "text", {"n": 1}, key="k")
        step.say("piece")
        await step.progress(done=1)
        return text

    found = AgentTester(tells).ask("x", stream=True)
    assert found.emitted == [{"stream": "told", "kind": "text", "data": {"n": 1}, "key": "k"}]
    assert (found.events, found.progress) == ([("text", "piece")], [{"done": 1}])


def test_what_needs_a_stack_says_so() -> None:
    @agent(name="remembers")
    async def remembers(text: str, step: StepContext) -> str:
        step.memory("facts").remember(text)
        return text

    with pytest.raises(ConfigurationError, match="use the fixture agents"):
        AgentTester(remembers).ask("x")


def test_an_agent_that_is_not_there() -> None:
    with pytest.raises(UnknownAgentError, match="nobody"):
        AgentTester("nobody")
