"""An agent, and a flow that asks it twice at once."""

import asyncio
import sys
from typing import Any

from celery_agents import FlowContext, agent, flow


@agent
def shout(text: str) -> str:
    """Says it louder."""
    return text.upper()


@agent
def version(_: Any) -> str:
    """Tell the Python of the worker."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


@flow(version=1)
async def both(run: FlowContext, text: str) -> list[str]:
    """Ask two agents, and wait between."""
    first = await asyncio.gather(run.ask("shout", text), run.ask("version", text))
    await asyncio.sleep(0.01)
    return [*first, await run.ask("shout", "end")]
