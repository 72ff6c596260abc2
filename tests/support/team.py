"""Agents that others ask; each act is a line in a file that the worker's environment names."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from celery_agents import AgentSpec, Client, StepContext, agent, tool


def told(*words: object) -> list[str]:
    """Append a line; a single write of that size is not torn by other processes."""
    with Path(os.environ["TEAM"]).open("a", encoding="utf-8") as file:
        file.write(" ".join(map(str, words)) + "\n")
    return known()


def known() -> list[str]:
    """The lines of all workers."""
    return Path(os.environ["TEAM"]).read_text(encoding="utf-8").splitlines()


@agent
async def reviewer(text: str, step: StepContext) -> str:
    """Reviews a text, once another review has begun beside it."""

    async def review(key: str) -> str:
        lines = told("review", text, key)
        while len([line for line in lines if line.startswith("review")]) < 2:
            await asyncio.sleep(0.02)
            lines = known()
        return f"{text} is fine"

    return str((await step.call("review", review, fingerprint=text)).value)


@tool(effects="idempotent")
async def weigh(text: str) -> int:
    """Weighs a text."""
    told("weigh", text)
    return len(text)


async def _pay(step: StepContext, what: str) -> str:
    async def act(key: str) -> str:
        told("paid", what, key)
        await asyncio.sleep(0.2)
        return f"{what}."

    return str((await step.call("pay", act, fingerprint=what)).value)


@agent
async def writer(what: str, step: StepContext) -> str:
    """Writes a part, in two acts."""
    return await _pay(step, f"draft-{what}") + await _pay(step, f"text-{what}")


@agent
async def editor(_: str, step: StepContext) -> str:
    """Has a text written: one part first, then two at once, between acts of its own."""
    parts = [await _pay(step, "plan"), await step.ask("writer", "first")]
    parts += await asyncio.gather(step.ask("writer", "left"), step.ask("writer", "right"))
    return " ".join([*map(str, parts), await _pay(step, "print")])


@agent
async def ping(turns: int, step: StepContext) -> object:
    """Asks pong, who asks ping: a circle that nobody can see beforehand."""
    told("turn", turns)
    return await step.ask("pong", turns + 1)


@agent
async def pong(turns: int, step: StepContext) -> object:
    """Asks ping."""
    told("turn", turns)
    return await step.ask("ping", turns + 1)


@agent
async def parent(generations: int, step: StepContext) -> int:
    """Has children, and these have some, for so many generations; none of them comes to an end."""
    told("born", step.step_id)
    if generations == 0:
        await asyncio.sleep(60)
    asked = [step.ask("parent", generations - 1, instructions=str(n)) for n in range(3)]
    return len(await asyncio.gather(*asked))


@agent
def impatient(text: str) -> object:
    """Waits for a run of its own, as it should not."""
    return Client(os.environ["REDIS_URL"]).ask("noop", text).get(timeout=5)


@agent
async def runaway(path: str, step: StepContext) -> int:
    """Asks five of its own kind, who do the same, whatever comes of it; how many have answered."""
    told("born", path, step.step_id)
    asked = [step.ask("runaway", f"{path}{n}") for n in range(5)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    return 1 + sum(one for one in found if isinstance(one, int))


@agent
def staffing(text: str) -> list[AgentSpec]:
    """Has each word of a task written by a poet of its own, whose sub-team is a critic."""
    critic = AgentSpec(base="poet", name="critic", instructions="Doubt it.")
    return [
        AgentSpec(base="poet", name=f"poet{n}", instructions=word, members=(critic,))
        for n, word in enumerate(text.split())
    ]


@agent
async def conductor(text: str, step: StepContext, team: tuple[AgentSpec, ...]) -> str:
    """Has all members do the task, side by side."""
    return " ".join(await asyncio.gather(*(step.ask(one, text) for one in team)))


@agent
async def poet(
    text: str, step: StepContext, instructions: str | None, team: tuple[AgentSpec, ...]
) -> str:
    """Writes a line in its manner, and asks those whom it has about it."""
    told("wrote", step.step_id, instructions)
    said = [await step.ask(one, text) for one in team]
    return f"<{instructions}{''.join(said)}>"


@agent
def clerk(text: str, step: StepContext) -> str:
    """Looks something up, which takes until it is told to go on."""
    told("looked", step.step_id, text)
    while not Path(f"{os.environ['TEAM']}.go").exists():
        time.sleep(0.02)
    return f"{text}!"


@agent
async def asker(text: str, step: StepContext) -> str:
    """Asks the clerk."""
    return str(await step.ask("clerk", text))


@agent
async def twice(text: str, step: StepContext) -> list[str]:
    """Asks the clerk the same twice at once, itself and by another one, and once more later."""
    first = await asyncio.gather(step.ask("clerk", text), step.ask("asker", text))
    return [*first, await step.ask("clerk", text)]
