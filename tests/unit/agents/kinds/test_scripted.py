from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError

from agents.base import Turn
from agents.kinds.scripted import ScriptedBackend, ScriptedConfig
from celery_agents.errors import AgentsError, RateLimitedError


def backend(script: dict[str, Any]) -> ScriptedBackend:
    return ScriptedBackend(ScriptedConfig.model_validate(script))


def run(agent: ScriptedBackend, step: Any, value: Any = "x") -> Any:
    return asyncio.run(agent.answer(Turn(input=value), step)).value


def test_one_reply_for_each_attempt_and_the_last_repeats(step: Any) -> None:
    agent = backend({"replies": [{"error": "rate_limited", "retry_after_s": 1}, {"value": 7}]})
    with pytest.raises(RateLimitedError) as caught:
        run(agent, step)
    assert caught.value.retry_after_s == 1
    assert run(agent, step.again()) == 7
    step.finished.clear()
    assert run(agent, step.again()) == 7
    assert len(agent.asked) == 3


def test_a_journaled_answer_is_not_given_again(step: Any) -> None:
    agent = backend({"replies": [{"value": 1}, {"value": 2}]})
    assert [run(agent, step), run(agent, step.again())] == [1, 1]
    assert len(agent.asked) == 1


def test_by_input(step: Any) -> None:
    script = {
        "replies": [{"value": "else"}],
        "by_input": {"hi": [{"value": 1}], "[2]": [{"value": 2}]},
    }
    agent = backend(script)
    assert run(agent, step, "hi") == 1
    assert run(agent, type(step)(), [2]) == 2
    assert run(agent, type(step)(), "other") == "else"


@pytest.mark.parametrize("kind", ["unavailable", "bad_answer", "refused", "agent_failed", "dead"])
def test_errors_by_kind(kind: str, step: Any) -> None:
    with pytest.raises(AgentsError, match="as told") as caught:
        run(backend({"replies": [{"error": kind, "message": "as told"}]}), step)
    assert caught.value.kind == kind


def test_a_delay_can_be_cancelled(step: Any) -> None:
    async def scene() -> None:
        agent = backend({"replies": [{"sleep_s": 60, "value": 1}]})
        async with asyncio.timeout(0.01):
            await agent.answer(Turn(input="x"), step)

    with pytest.raises(TimeoutError):
        asyncio.run(scene())


@pytest.mark.parametrize(
    "script",
    [{"replies": []}, {"replies": [{"error": "nonesuch"}]}, {"replies": [{"valeu": 1}]}],
)
def test_scripts_that_are_refused(script: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        backend(script)
