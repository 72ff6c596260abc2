"""Agents that read what others wrote, and agents that keep: ``tests.support.trusting``."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from celery_agents import StepContext, agent, flow
from celery_agents.errors import AgentFailedError


@shared_task(name="tests.handed_on")
def handed_on(said: Any) -> Any:
    """No step: it gives what it is given."""
    return said


@agent
async def stranger(text: str, step: StepContext) -> str:
    """Reads what others wrote."""
    await step.distrust()
    return text


@agent
async def asking(text: str, step: StepContext) -> str:
    """Has another one read it."""
    said: str = await step.ask("stranger", text)
    return said


@agent
async def keeping(said: Any, step: StepContext) -> Any:
    """Keeps what it is told."""
    step.memory("customers").remember(str(said))
    return said


@agent
async def caching(order: dict[str, str], step: StepContext) -> str:
    """Asks one whose answers are kept, and keeps what that says."""
    said: str = await step.ask(order["of"], order["text"])
    step.memory("customers").remember(f"{said} of {order['run']}")
    return said


@agent(effects="pure", cache=600)
async def looked_up(text: str, step: StepContext) -> str:
    """Reads what others wrote, once."""
    await step.distrust()
    return text.upper()


@agent(effects="pure", cache=600)
async def heard(text: str, step: StepContext) -> str:
    """Has another one read it, once."""
    said: str = await step.ask("stranger", text)
    return said.lower()


@agent(effects="pure", cache=600)
async def known(text: str) -> str:
    """Reads nothing."""
    return text.title()


@agent
async def failing(order: dict[str, Any], step: StepContext) -> str:
    """Fails unless its input says otherwise, having read what others wrote."""
    await step.distrust()
    if order.get("fails"):
        raise AgentFailedError("It was told to.")
    return str(order["text"])


@flow
async def reading(run: Any, text: str) -> str:
    """Has it read, then kept."""
    said = await run.ask("stranger", text, key="read")
    return str(await run.ask("keeping", said))
