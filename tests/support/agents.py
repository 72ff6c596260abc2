"""Agents for the workers of the tests: ``AGENTS_MODULES=["tests.support.agents"]``.

Those that are counted append one line to the file that their input names, so that a test sees
how often they really ran, and where.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import celery_agents
from celery_agents import Answer, StepContext, Usage, agent, tool
from celery_agents.errors import AgentFailedError, ProviderUnavailableError
from tests.support.gate import may_end

#: What ``bad`` and ``refused`` let slip; no log, row or result may show it.
PASSWORD = "hunter2-and-more"


def _tell(path: str, line: str) -> None:
    """Append one line; a single write of that size is not torn by other processes."""
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


@agent(effects="pure")
def noop(value: Any) -> Any:
    """The input again."""
    return value


@agent(effects="pure")
def home(_: Any) -> str:
    """The folder of the package that its worker runs."""
    return str(Path(celery_agents.__file__).resolve().parent)


@agent(effects="pure")
def cut_short(_: Any) -> Any:
    """Answers with half of a surrogate pair."""
    return {"a": "\ud83d"}


@agent(effects="pure")
def shout(text: str) -> str:
    """Says it louder."""
    return text.upper()


@agent
def flaky(order: dict[str, Any], step: StepContext) -> str:
    """Fails until attempt ``until``; with ``retry_after_s`` it says when to come again."""
    if "path" in order:
        _tell(order["path"], f"attempt {step.attempt}")
    if step.attempt < order["until"]:
        wait = {k: v for k, v in order.items() if k == "retry_after_s"}
        raise ProviderUnavailableError(f"down in attempt {step.attempt}", wait)
    return f"attempt {step.attempt}"


@agent
async def slow(order: dict[str, Any]) -> Any:
    """Sleeps on the loop; tells ``path`` when it begins, ends and is cancelled.

    For so many ``seconds``, and until there is the file ``after``.
    """
    path = order.get("path", os.devnull)
    _tell(path, "begin")
    try:
        await may_end(order)
    except asyncio.CancelledError:
        _tell(path, "cancelled")
        raise
    _tell(path, "end")
    return order.get("value")


@agent
async def rests(_: Any) -> None:
    """Takes a second, and nothing of a processor."""
    await asyncio.sleep(1)


@agent
async def calling(order: dict[str, Any], step: StepContext) -> int:
    """Makes so many ``calls``, each followed by a wait for the file ``go-N`` in ``folder``."""
    for number in range(order["calls"]):
        await step.call(f"call {number}", len)
        await may_end({"after": f"{order['folder']}/go-{number}"})
    return int(order["calls"])


@agent
def slow_sync(order: dict[str, Any]) -> Any:
    """Sleeps ``seconds`` in a thread."""
    _tell(order["path"], "begin")
    time.sleep(order["seconds"])
    _tell(order["path"], "end")
    return order.get("value")


@agent
async def count(order: dict[str, Any], step: StepContext) -> Any:
    """One line with the step's id for each time that it runs to its end."""
    await asyncio.sleep(order.get("seconds", 0))
    _tell(order["path"], step.step_id)
    return order.get("value")


@agent
async def reports(order: dict[str, Any], step: StepContext) -> str:
    """Tells how far it is, three times and of ``field`` too."""
    for done in (1, 2, 3):
        await step.progress(done=done, of=3, **order)
    return "done"


@agent
def bad(_: Any) -> None:
    """An error of its own, with a password in it."""
    raise ValueError(f"cannot log in: password={PASSWORD}")


@agent
async def says(text: str) -> str:
    """Write a line of the log."""
    await asyncio.sleep(0)
    logging.getLogger(__name__).warning("It says %s", text)
    return text


@agent
def refused(reason: str) -> None:
    """Fails for good."""
    raise AgentFailedError(reason)


@agent
def killer(order: dict[str, Any], step: StepContext) -> str:
    """Kills its own process until attempt ``until``."""
    _tell(order["path"], f"attempt {step.attempt}")
    if step.attempt < order["until"]:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    return f"attempt {step.attempt}"


@agent(effects="effect")
def pay(amount: float) -> str:
    """Changes the outside world, so nobody may race it."""
    return f"paid {amount}"


@tool
def charge(amount: float) -> str:
    """Charges a card."""
    return f"charged {amount}"


@agent
async def acts_in_any_form(_: Any, step: StepContext) -> list[Any]:
    """Calls whose acts take no key, are not async, or give a plain value."""

    async def keyless() -> dict[str, int]:
        return {"paid": 1}

    first = await step.call("keyless", keyless)
    second = await step.call("plain", lambda key: f"{len(key)} characters")
    return [first.value, second.value]


@agent(effects="pure")
async def two_calls(order: dict[str, Any], step: StepContext) -> str:
    """Two journaled calls; between them it fails (or kills its process) until attempt 2."""

    def act(name: str) -> Any:
        async def perform(key: str) -> Answer:
            _tell(order["path"], f"{name} {key}")
            return Answer(value=f"{name} of attempt {step.attempt}", usage=Usage(calls=1))

        return perform

    first = await step.call("first", act("first"), fingerprint="1")
    if step.attempt == 1:
        if order.get("kill"):
            # The first call is committed with whatever is written next; wait for it.
            await step.call("between", act("between"), fingerprint="2")
            os.kill(os.getpid(), signal.SIGKILL)
        raise ProviderUnavailableError("between the calls")
    if order.get("kill"):
        await step.call("between", act("between"), fingerprint="2")
    second = await step.call("second", act("second"), fingerprint="3")
    return f"{first.value}, {second.value}"


@agent(effects="pure")
def yes(_: Any) -> str:
    """A voter."""
    return "yes"


@agent
async def slow_yes(_: Any) -> str:
    """A voter that takes its time."""
    await asyncio.sleep(0.5)
    return "yes"


@agent(effects="pure")
def no(_: Any) -> str:
    """The other voter."""
    return "no"


@agent
async def fails_after_a_while(_: Any) -> None:
    """Fails once its caller knows it as a task."""
    await asyncio.sleep(1.5)
    raise AgentFailedError("late")


@agent
async def hangs(_: Any) -> None:
    """Never answers."""
    await asyncio.sleep(3600)


@agent(effects="pure")
def supervisor(told: dict[str, Any]) -> str:
    """Decides for the last of the choices, once it was told the ballots."""
    assert len(told["ballots"]) >= 2
    return str(told["choices"][-1])


@agent
async def computes(order: dict[str, Any]) -> str:
    """Computes for ``seconds`` where it should wait, so that its worker's loop stands still."""
    _tell(order["path"], str(os.getpid()))
    until = time.monotonic() + order["seconds"]
    while time.monotonic() < until:
        pass
    return "at last"


@agent
async def chat(
    order: dict[str, Any], messages: list[dict[str, Any]], step: StepContext
) -> list[str]:
    """The names of what was asked before it in its session, and its own.

    It kills its process until attempt ``until``, fails where it is to ``fail``, takes ``seconds``,
    and waits for the file ``after``.
    """
    before = [json.loads(m["content"])["name"] for m in messages if m["role"] == "user"]
    if "path" in order:
        _tell(order["path"], f"{order['name']} {step.attempt} {len(before)}")
    if step.attempt < order.get("until", 1):
        os.kill(os.getpid(), signal.SIGKILL)
    await may_end(order)
    if order.get("fail"):
        raise AgentFailedError("as it was told")
    return [*before, order["name"]]


@tool(effects="idempotent")
def kill_once(path: str) -> str:
    """Kills its process the first time that it is called."""
    if not Path(path).exists():
        _tell(path, "killed")
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    return "alive"


@agent
async def recites(said: str, step: StepContext) -> Answer:
    """Says ``words`` words, one after the other, once it has paid; ``path`` is told what it does.

    At word ``dies_at`` of its first attempt it kills its process; ``other``: it then says others.
    """
    order = json.loads(said)

    def pay() -> str:
        _tell(order["path"], "paid")
        return "receipt"

    await step.call("pay", pay)
    word = "word" if step.attempt == 1 or not order.get("other") else "other"
    words = [f"{word}-{n}" for n in range(order["words"])]
    for n, one in enumerate(words):
        if n == order.get("dies_at") and step.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
            await asyncio.sleep(60)
        step.say(f"{one} ")
        await asyncio.sleep(order.get("pause_s", 0.01))
    return Answer(value=" ".join(words), usage=Usage(calls=1, output_tokens=len(words)))
