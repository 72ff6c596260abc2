"""The desk of docs/tutorial.md."""

from __future__ import annotations

import asyncio
from typing import Any

from celery_agents import FlowContext, RetryableError, StepContext, agent, flow


@agent
def shout(text: str) -> str:
    """Says it louder."""
    return text.upper()


@agent
def flaky(text: str, step: StepContext) -> str:
    """Is away at first, and there at the second attempt."""
    if step.attempt == 1:
        raise RetryableError("the desk is closed")
    return f"{text} (attempt {step.attempt})"


@agent
def nouns(text: str) -> str:
    """Sorts a message by what it is about."""
    return "delivery" if "parcel" in text else "other"


@agent
def verbs(text: str) -> str:
    """Sorts a message by what was done."""
    return "delivery" if "arrive" in text else "other"


@agent
def marks(text: str) -> str:
    """Sorts a message by its end."""
    return "question" if text.endswith("?") else "other"


@flow(version=1)
async def complaint(run: FlowContext, text: str) -> dict[str, Any]:
    """Asks two agents at once, then waits up to three days for somebody's word."""
    topic, loud = await asyncio.gather(run.ask("nouns", text), run.ask("shout", text))
    approved = await asyncio.wait_for(run.signal("approve"), 3 * 86_400)
    return {"topic": topic, "said": loud, "approved": approved}
