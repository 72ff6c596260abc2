"""Agents of OpenAI's SDK for real workers: three sub-agents side by side, a payment, a handoff."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from agents.testing import ScriptedModel, assistant_message, function_call
from openai import AsyncOpenAI

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    RunContextWrapper,
    Runner,
    ShellTool,
    SQLiteSession,
    function_tool,
)
from celery_agents import agent, durable_client, durable_runner

_URL, _BOOK = os.environ["FRAMED_URL"], Path(os.environ["FRAMED_BOOK"])
durable_runner(price={"input_usd": 1.0, "output_usd": 2.0})


def tell(line: str) -> None:
    """Write down what was done."""
    with _BOOK.open("a") as book:
        book.write(f"{line}\n")


def model(name: str, **about: Any) -> OpenAIChatCompletionsModel:
    """A model of the fake server's."""
    client = AsyncOpenAI(base_url=f"{_URL}/{name}/v1", api_key="sk-x", max_retries=0, timeout=60)
    if about:
        client = durable_client(client, **about)
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
payer = Agent(name="payer", model=model("payer"), tools=[pay])
#: A payment within an agent that is a tool.
boss = Agent(name="boss", model=model("boss"), tools=[payer.as_tool("delegate", "Have it paid.")])
plain = Agent(name="plain", model=model("plain"), tools=[dig])
shell = Agent(name="shell", model=model("shell"), tools=[ShellTool(executor=print)])  # type: ignore[arg-type]


@function_tool
async def refers(ctx: RunContextWrapper[None]) -> str:
    """Have a server keep the conversation."""
    return str((await Runner.run(plain, "x", previous_response_id="resp_1")).final_output)


@function_tool
def broken() -> str:
    """Fail."""
    raise ValueError("out of order")


scripted = Agent(
    name="scripted",
    model=ScriptedModel(
        [
            [function_call("broken", {}, call_id="c1")],
            [assistant_message("it is broken")],
        ]
    ),
    tools=[broken],
)
server_kept = Agent(
    name="server_kept",
    model=ScriptedModel(
        [
            [function_call("refers", {}, call_id="c1")],
            [assistant_message("nobody comes here")],
        ]
    ),
    tools=[refers],
)
#: Counted once, though its client is durable as well.
twice = Agent(name="twice", model=model("plain", price={"input_usd": 1.0, "output_usd": 2.0}))


@agent
async def by_runner(topic: str, step: Any) -> str:
    """Run an agent in a function, with a session of the SDK's own; die at the end."""
    session = SQLiteSession("talk", _BOOK.with_suffix(".db"))
    said = await Runner.run(plain, topic, session=session)
    tell(f"attempt {step.attempt}")
    while _BOOK.with_suffix(".hold").exists():
        await asyncio.sleep(0.02)
    return f"{said.final_output}, {len(await session.get_items())} items"
