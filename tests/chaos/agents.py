"""Agents for the workers under chaos. Each outside act is a journaled call that is written down.

The line stands in the file before the act takes its time, as a provider takes the money before it
answers: ``idempotency key, step id, token of the claim, name of the act``.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import text

from agents.base import Answer, Usage
from agents.needs import Needs
from app.execution.context import Step
from celery_agents import (
    ActorContext,
    CallContext,
    FlowContext,
    StreamEntry,
    actor,
    agent,
    flow,
    projection,
    tool,
)
from celery_agents.errors import AgentFailedError, ProviderUnavailableError
from tests.support.gate import may_end

#: A cent in billionths of a dollar.
CENT = 10**7
#: First words of lines that tell of something else than an act.
BEGAN = "began"
#: Of notes, so that their spaces are full before long.
LENGTH = ", and so on" * 40
#: Names the file; each worker of a stand has it in its environment.
CALLS_FILE = "CHAOS_CALLS_FILE"


def _tell(*words: object) -> None:
    """Append one line; a single write of that size is not torn by other processes."""
    with Path(os.environ[CALLS_FILE]).open("a", encoding="utf-8") as file:
        file.write(" ".join(map(str, words)) + "\n")


async def _act(step: Step, name: str, seconds: float, value: Any, *, fails: bool = False) -> Any:
    async def perform(key: str) -> Answer:
        _tell(key, step.step_id, step.claim.token, name)
        await asyncio.sleep(seconds)
        if fails:
            raise ProviderUnavailableError("down for a moment")
        return Answer(value=value)

    return (await step.call(name, perform, fingerprint=name)).value


#: What each was given, by the projection of this process: nothing but its rows counts.
TALLY = "CREATE TABLE IF NOT EXISTS tally (n integer, times integer, PRIMARY KEY (n))"


@projection("told/*")
def tally(entry: StreamEntry, connection: Any) -> None:
    """Counts how often it was given each event."""
    more = "ON CONFLICT (n) DO UPDATE SET times = tally.times + 1"
    connection.execute(text(f"INSERT INTO tally VALUES (:n, 1) {more}"), {"n": entry.data["n"]})


@agent
async def hears(event: dict[str, Any], step: Step) -> int:
    """Acts upon an event, once; not before there is the file ``after`` of its data."""
    await may_end(event["data"])
    return int(await _act(step, "heard", 0.01, event["data"]["n"]))


@agent(effects="pure")
async def pays(n: int, step: Step) -> int:
    """A call of one cent, which its provider counts when it comes in."""

    async def perform(key: str) -> Answer:
        _tell(key, step.step_id, step.claim.token, "cent")
        await asyncio.sleep(0.1 + 0.02 * (n % 10))
        return Answer(value=n, usage=Usage(calls=1, cost_usd=0.01))

    await step.call("cent", perform, expect=lambda: Needs(nano_usd=CENT))
    return n


@agent(effects="pure")
async def calls(n: int, step: Step) -> int:
    """Two acts, the second on the answer of the first."""
    first = await _act(step, "first", 0.1 + 0.1 * (n % 5), n + 1)
    return int(await _act(step, "second", 0.2, 2 * first))


@agent(effects="pure")
async def stumbles(n: int, step: Step) -> int:
    """The same, but in the first attempt the second act fails, in the second what follows it."""
    first = await _act(step, "first", 0.2, n + 1)
    second = await _act(step, "second", 0.05, 2 * first, fails=step.attempt == 1)
    if step.attempt == 2:
        raise ProviderUnavailableError("after both acts")
    return int(second)


@agent(effects="pure")
async def honest(n: int, step: Step) -> str:
    """Says whether the question is an even number."""
    return str(await _act(step, "ballot", 0.1 * (1 + n % 4), "no" if n % 2 else "yes"))


@agent(effects="pure")
async def contrary(n: int, step: Step) -> str:
    """The opposite: two of five are not enough."""
    return str(await _act(step, "ballot", 0.1 * (1 + n % 3), "yes" if n % 2 else "no"))


@agent(effects="pure")
async def refuses(_: Any) -> None:
    """Fails for good, so that a fallback goes on."""
    raise AgentFailedError("not today")


@agent(effects="pure")
async def talks(order: dict[str, Any], messages: list[dict[str, Any]], step: Step) -> Any:
    """Two acts; then it tells which questions of its session were asked before."""
    await _act(step, "first", 0.03, None)
    await _act(step, "second", 0.03, None)
    if order["fails"]:
        raise AgentFailedError("as it was told")
    before = [json.loads(m["content"])["n"] for m in messages if m["role"] == "user"]
    return {"n": order["n"], "before": before}


@agent(effects="pure")
async def learns(order: dict[str, Any], step: Step) -> list[int]:
    """Remembers three things and replaces the first of them, around one act; it may fail then.

    Not before there is the file ``after``.
    """
    await may_end(order)
    facts = step.memory("facts")
    draft = facts.remember(f"draft of {step.step_id}")
    facts.remember(f"fact of {step.step_id}", replaces=draft)
    await _act(step, "learn", 0.05 + 0.05 * (order["n"] % 3), None)
    step.memory("notes").remember(f"note of {step.step_id}{LENGTH}")
    if order.get("fails"):
        raise AgentFailedError("as it was told")
    return [order["n"]]


@agent(effects="effect", compensation="frees")
async def keeps(n: int, step: Step) -> int:
    """One act that can be undone."""
    return int(await _act(step, "keep", 0.05 * (1 + n % 4), n))


@agent
async def frees(done: dict[str, Any], step: Step) -> None:
    """Undoes it, by another act."""
    await _act(step, "free", 0.1, done["step"])


@agent(effects="pure")
async def holds(seconds: float, step: Step) -> str:
    """One act that takes its time."""
    return str(await _act(step, "hold", seconds, "held"))


@agent(effects="pure")
async def stamps(seconds: float, step: Step) -> int:
    """Says when and where each attempt begins, and holds its slot."""
    _tell(BEGAN, step.step_id, os.getpid(), time.monotonic())
    await asyncio.sleep(seconds)
    return step.attempt


@agent(effects="pure")
async def counts(order: dict[str, Any], step: Step) -> int:
    """One act, which adds one; not before there is the file ``after``."""
    await may_end(order)
    n = order["n"]
    return int(await _act(step, "count", 0.05 + 0.05 * (n % 3), n + 1))


@flow
async def journeys(run: FlowContext, given: dict[str, Any]) -> int:
    """Ten steps: four in a row, three side by side, three more; between them it sleeps.

    The last of them is for the file ``after``.
    """
    count = partial(run.ask, "counts", retry=given["retry"])
    found = given["n"]
    for _ in range(4):
        found = await count({"n": found})
    sides = await asyncio.gather(*(count({"n": found + side}) for side in range(3)))
    await asyncio.sleep(0.2)
    found = sum(sides)
    for _ in range(2):
        found = await count({"n": found})
    return int(await count({**given["last"], "n": found}))


@agent(effects="pure")
async def hogs(limit_mib: int, step: Step) -> int:
    """Takes more and more memory, and lets nothing go."""
    _tell(BEGAN, step.step_id, os.getpid(), time.monotonic())
    taken: list[bytearray] = []
    while len(taken) < limit_mib:
        taken.append(bytearray(b"x" * 2**20))
        await asyncio.sleep(0.005)
    await asyncio.sleep(60)
    return len(taken)


def act_began(call: CallContext) -> None:
    """Write down that the function of a tool has begun."""
    step: Any = call.step
    _tell(call.key, step.step_id, step.claim.token, "tool")


@tool(effects="idempotent")
async def looks_up(what: str, call: CallContext) -> str:
    """Looks something up."""
    act_began(call)
    await asyncio.sleep(0.1)
    return f"{what} is known"


@actor
class Tally:
    """A sum of numbers that are told in order; it notes those that come out of it."""

    total: int = 0
    awaits: int = 0
    astray: list[int] = []  # noqa: RUF012 - each actor has its own

    async def add(self, me: ActorContext, number: int) -> None:
        """Adds the next one."""
        if number != self.awaits:
            self.astray = [*self.astray, number][-20:]
        self.awaits = number + 1
        self.total += number
