"""Agents of OpenAI's SDK for real workers: three sub-agents side by side, a payment, a handoff."""

from __future__ import annotations

import os
import time
from pathlib import Path

from openai import AsyncOpenAI

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    Runner,
    SQLiteSession,
    function_tool,
)
from celery_agents import agent, durable_runner

_URL, _BOOK = os.environ["FRAMED_URL"], Path(os.environ["FRAMED_BOOK"])
durable_runner()


def tell(line: str) -> None:
    """Write down what was done."""
    with _BOOK.open("a") as book:
        book.write(f"{line}\n")


def model(name: str) -> OpenAIChatCompletionsModel:
    """A model of the fake server's."""
    client = AsyncOpenAI(base_url=f"{_URL}/{name}/v1", api_key="sk-x", max_retries=0, timeout=60)
    return OpenAIChatCompletionsModel("m", openai_client=client)


@function_tool
async def dig(at: str) -> str:
    """Dig there."""
    tell(f"dig {at}")
    return f"dug {at}"


@function_tool(needs_approval=True)
def pay(cents: int) -> dict[str, int]:
    """Pay, once a person says so."""
    tell(f"pay {cents}")
    while _BOOK.with_suffix(".hold").exists():
        time.sleep(0.02)
    return {"paid": cents}


sub = Agent(name="sub", model=model("sub"), tools=[dig])
closer = Agent(name="closer", model=model("closer"))
lead = Agent(
    name="lead",
    model=model("lead"),
    tools=[sub.as_tool("delegate", "Have somebody dig."), pay],
    handoffs=[closer],
)
plain = Agent(name="plain", model=model("plain"), tools=[dig])


@agent
async def by_runner(topic: str) -> str:
    """Run an agent in a function, with a session of the SDK's own."""
    session = SQLiteSession("talk", _BOOK.with_suffix(".db"))
    said = await Runner.run(plain, topic, session=session)
    return f"{said.final_output}, {len(await session.get_items())} items"
