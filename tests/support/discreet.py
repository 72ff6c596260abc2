"""Agents that repeat what they are asked, in each way in which a step can tell something."""

from __future__ import annotations

from typing import Any

from celery_agents import Answer, RetryableError, StepContext, agent


@agent
async def repeats(text: str, step: StepContext) -> str:
    """The input, from a journaled call; its first attempt fails behind it. It is watched, too."""

    async def perform(_: str) -> Answer:
        return Answer(value=text)

    said = await step.call("says", perform, fingerprint=text[:60])
    step.say(text)
    await step.progress(done=1, told=text)
    if step.attempt == 1:
        raise RetryableError("not yet")
    return f"{said.value}."


@agent(effects="pure")
def same(value: Any) -> Any:
    """The input."""
    return value


@agent(effects="pure", cache=600)
def kept(value: Any) -> Any:
    """The input, which is kept for who asks the same."""
    return value
