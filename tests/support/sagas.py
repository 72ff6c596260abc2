"""Agents with compensations: ``AGENTS_MODULES=["tests.support.sagas"]``.

Each act appends a line to the file that the input names. The undoing says ``-`` and what it undoes,
and waits, fails or kills its process as the input of the undone step asks.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from celery_agents import StepContext, agent
from celery_agents.contracts.compensation import Compensation
from celery_agents.contracts.policies import RetryPolicy
from celery_agents.errors import AgentFailedError, ProviderUnavailableError

QUICK = RetryPolicy(max_attempts=3, base_delay_s=0.05)


def _tell(order: dict[str, Any], line: str) -> None:
    with Path(order["path"]).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


async def _act(order: dict[str, Any], name: str, seconds: float) -> str:
    await asyncio.sleep(seconds)
    _tell(order, f"+{name}")
    return f"{name}'s ticket"


@agent(effects="effect", compensation="cancel_booking")
async def hotel(order: dict[str, Any]) -> dict[str, str]:
    """The first to finish."""
    return {"hotel": await _act(order, "hotel", 0)}


@agent(effects="effect", compensation=Compensation(agent="cancel_booking", retry=QUICK))
async def flight(order: dict[str, Any]) -> dict[str, str]:
    """The second to finish."""
    return {"flight": await _act(order, "flight", 0.3)}


@agent(effects="effect", compensation="cancel_booking")
async def car(order: dict[str, Any]) -> dict[str, str]:
    """The third, but there is none."""
    await asyncio.sleep(0.6)
    raise AgentFailedError("no car is left")


@agent(effects="effect", compensation="cancel_booking")
async def ferry(order: dict[str, Any]) -> dict[str, str]:
    """Hangs after it has begun."""
    _tell(order, "ferry begins")
    return {"ferry": await _act(order, "ferry", 60)}


@agent(effects="effect", compensation="hotel")
def cancel_booking(told: dict[str, Any], step: StepContext) -> str:
    """Undoes a booking; it has a compensation too, which is never asked."""
    order, name = told["input"], told["agent"]
    assert name in str(told["output"]), told
    if order.get("kill") == name and step.attempt == 1:
        _tell(order, f"killed at {name}")
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    if order.get("flaky") == name and step.attempt == 1:
        raise ProviderUnavailableError("the desk is closed")
    if order.get("stuck") == name and not Path(order["path"] + ".open").exists():
        raise AgentFailedError("the desk is closed for good")
    _tell(order, f"-{name}")
    return f"{name} is cancelled"
