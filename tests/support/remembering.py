"""Agents that keep texts: ``AGENTS_MODULES=["tests.support.remembering"]``."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from celery_agents import StepContext, agent
from celery_agents.errors import AgentFailedError


@agent
async def keeper(order: dict[str, Any], step: StepContext) -> list[str]:
    """Keeps texts; answers with what it recalls for ``question``. Dies once, or fails."""
    memory = step.memory("customers")
    for text in order.get("texts", ()):
        memory.remember(text)
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


def _die_once(path: str) -> None:
    if not (mark := Path(path)).exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
