"""``plan``: a model writes down what it is about to do, for those who watch its run."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field

from agents.tools.base import CallContext, tool
from agents.tools.toolset import FixedToolset
from celery_agents.contracts.base import Contract, JsonValue


class PlanItem(Contract):
    """One thing to be done."""

    text: Annotated[str, Field(min_length=1, max_length=300)]
    state: Literal["open", "doing", "done"] = "open"


# Pure: it changes nothing but what watchers see, who see it of each attempt.
@tool(name="plan", effects="pure")
async def plan(
    items: Annotated[list[PlanItem], Field(min_length=1, max_length=50)], call: CallContext
) -> str:
    """Write down the steps of your task, for people who watch; all of them, each time.

    Call it before you begin, and whenever one of them is begun or done.
    """
    told: list[JsonValue] = [item.model_dump(mode="json") for item in items]
    await call.step.progress(plan=told)
    states = Counter(item.state for item in items)
    return f"{states['done']} of {len(items)} done"


class PlanToolset(FixedToolset):
    """The plan of an agent."""

    always_shown = True
