"""Agents whose calls say beforehand what they cost."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from celery_agents import Answer, Needs, StepContext, Usage, agent

#: The file in which each call that is made stands as a line.
PAID_FILE = "SPENDERS_FILE"


@agent(name="spends", effects="pure")
async def spends(asked: Any, step: StepContext) -> str:
    """Make calls that cost so many millionths of a dollar each, and take so long."""
    told: dict[str, Any] = asked if isinstance(asked, dict) else {"micro_usd": asked}
    nano = int(told["micro_usd"] * 1000)

    async def pay(key: str) -> Answer:
        _note(f"{key} {nano}\n")
        await asyncio.sleep(told.get("seconds", 0.02))
        cost = told.get("real_micro_usd", told["micro_usd"]) / 1e6
        return Answer(value="paid", usage=Usage(calls=1, input_tokens=3, cost_usd=cost))

    for _ in range(told.get("calls", 1)):
        await step.call("pay", pay, expect=lambda: Needs(3, 0, nano))
    return "paid"


def _note(line: str) -> None:
    with Path(os.environ[PAID_FILE]).open("a") as file:
        file.write(line)
