"""Agents that are learned from: ``AGENTS_MODULES=["tests.support.learning"]``."""

from __future__ import annotations

from typing import Any

from celery_agents import StepContext, agent
from celery_agents.errors import AgentFailedError


@agent
async def learner(task: dict[str, Any], step: StepContext) -> str:
    """Uses the tool that did well before or, where it knows of none, the one it is told to."""
    known = step.ways and step.ways[0].reward > 0
    used = step.ways[0].names[0] if known else task["tool"]
    step.did(used)
    if used == "guess":
        raise AgentFailedError("It guessed wrong.")
    return str(used)


@agent
async def steady(task: str) -> str:
    """Does it."""
    return task


@agent
async def shaky(task: str) -> str:
    """Does not."""
    raise AgentFailedError(f"{task}: not done.")
