"""Agents that keep texts: ``AGENTS_MODULES=["tests.support.remembering"]``."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from celery_agents import StepContext, agent, tool
from celery_agents.errors import AgentFailedError


@agent
async def keeper(order: dict[str, Any], step: StepContext) -> list[str]:
    """Keeps texts; answers with what it recalls for ``question``. Dies once, or fails."""
    memory = step.memory("customers")
    for text in order.get("texts", ()):
        memory.remember(text, about=order.get("about", ()))
    found = [m.text for m in await memory.recall(order["question"])] if "question" in order else []
    if "forget" in order:
        memory.forget(order["forget"])
    if "kill" in order:
        _die_once(order["kill"])
    if order.get("fail"):
        raise AgentFailedError("It was told to.")
    return found


@agent
async def leader(order: dict[str, Any], step: StepContext) -> list[str]:
    """Has a keeper keep texts, asks another one what it recalls of them, and may fail."""
    await step.ask("keeper", {"texts": order["texts"]})
    found: list[str] = await step.ask("keeper", {"question": order["question"]})
    if order.get("fail"):
        raise AgentFailedError("It was told to.")
    return found


@tool(effects="idempotent", untrusted=True)
def read_document(text: str) -> str:
    """Gives what somebody else wrote."""
    return text


@agent
async def advised(question: str, step: StepContext) -> str:
    """Asks a model, with what is known as instructions."""
    known = await step.memory("customers").recall(question, tokens=20_000, trust=2)
    told = "\n".join(memory.text for memory in known)
    answer: str = await step.ask("gpt", question, instructions=told)
    return answer


@agent
async def courier(question: str, step: StepContext) -> str:
    """Keeps what another agent has read."""
    found: str = await step.ask("gpt", question)
    return step.memory("customers").remember(found)


#: What words are about, a direction each.
_ABOUT = ("shoe boot sandal wear", "dog cat animal pet", "tea coffee drink cup", "sing song music")


@agent
async def embedder(text: str) -> list[float]:
    """A vector of a text: how much it is about each of a few things. Of none there is none."""
    found = [float(sum(word in text.lower() for word in words.split())) for words in _ABOUT]
    if not any(found):
        raise AgentFailedError("It is about nothing.")
    return found


def _die_once(path: str) -> None:
    if not (mark := Path(path)).exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
