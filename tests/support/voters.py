"""Voters whose ballots are journaled calls, for the tests of joins under faults."""

from __future__ import annotations

import asyncio
from typing import Any

from celery_agents import agent
from tests.support.gate import may_end


@agent
async def even(question: dict[str, Any]) -> str:
    """Takes a moment, then says whether ``n`` is an even number; once there is ``after``."""
    n = question["n"]
    await may_end({**question, "seconds": 0.02 * (n % 5)})
    return "yes" if n % 2 == 0 else "no"


@agent
async def contrary(question: dict[str, Any]) -> str:
    """The opposite: two of five are not enough."""
    n = question["n"]
    await may_end({**question, "seconds": 0.03 * (n % 3)})
    return "no" if n % 2 == 0 else "yes"


@agent
async def quick(value: Any) -> Any:
    """Answers after 50 ms."""
    await asyncio.sleep(0.05)
    return value


@agent
async def fails_late(_: Any) -> None:
    """Fails when everybody has given up waiting."""
    await asyncio.sleep(600)
    raise ValueError("late failure")


@agent
async def sleeps(_: Any) -> str:
    """Answers after a second."""
    await asyncio.sleep(1)
    return "late"


@agent(effects="pure")
def swayed(told: Any) -> str:
    """Says no, until it sees what most others say."""
    if not isinstance(told, dict):
        return "no"
    options = [ballot["option"] for ballot in told["ballots"]]
    return str(max(options, key=options.count))


@agent(effects="pure")
def number(value: Any) -> int:
    """A number, for means."""
    return len(str(value))


@agent(effects="pure")
def judge(told: dict[str, Any]) -> dict[str, int]:
    """Longer answers are better."""
    return {c["member"]: len(str(c["value"])) for c in told["candidates"]}
