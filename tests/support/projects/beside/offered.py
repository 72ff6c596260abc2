"""Agents of a project with packages that are named as the service's are."""

from typing import Any

import app
import tasks
from agents import Agent
from celery_agents import StepContext, agent, tool


@tool
def double(number: int) -> int:
    """Twice as much."""
    return 2 * number


@agent
def whose(_: Any, step: StepContext) -> dict[str, Any]:
    """Tell, inside a step, whose packages these are."""
    return {
        "app": app.OWNER,
        "tasks": tasks.OWNER,
        "agents": Agent.OWNER,
        "attempt": step.attempt,
        "four": double(2),
    }


@agent
def shout(text: str) -> str:
    """Says it louder."""
    return text.upper()


@agent
def yes(_: Any) -> str:
    """Agrees."""
    return "yes"
