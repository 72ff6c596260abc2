"""Agents that repeat what they are asked, in each way in which a step can tell something."""

from __future__ import annotations

from typing import Any

from celery_agents import Answer, RetryableError, StepContext, agent, flow


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


@agent
def notes(value: str, step: StepContext) -> str:
    """The input, which it adds to a stream, too."""
    step.emit("letters/notes", "noted", {"value": value})
    return value


@flow
async def discreet(run: Any, told: str) -> list[Any]:
    """Asks, waits to be told, and tells."""
    found = [await run.ask("notes", told), await run.signal("go")]
    run.emit("letters/told", "told", {"found": found[1]})
    return found
