"""A small desk: two models, a tool, an agent that is a function, and a flow."""

import asyncio
from datetime import timedelta

from celery_agents import FlowContext, agent, flow, tool


@tool(effects="pure")
def order(number: int) -> str:
    """Look up an order."""
    return f"order {number} was sent on Monday"


@agent
def shout(text: str) -> str:
    """Say it louder."""
    return text.upper()


@flow
async def remind(ctx: FlowContext, name: str) -> str:
    """Ask, wait a week, ask again."""
    first = await ctx.ask("triage", f"first {name}")
    await asyncio.sleep(timedelta(weeks=1).total_seconds())
    second = await ctx.ask("triage", f"second {name}")
    return f"{first}, {second}"
