"""Agents that select strategies, and some to select."""

from __future__ import annotations

import asyncio

from celery_agents import agent


@agent(effects="pure")
def by_length(text: str, choices: list[str]) -> str:
    """Has the first strategy for short tasks, and the last one for others."""
    return choices[0] if len(text) < 5 else choices[-1]


@agent
async def takes_a_second(text: str) -> str:
    """Answers after a second."""
    await asyncio.sleep(1)
    return text
