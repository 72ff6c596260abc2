"""Flows for the workers of the tests, with the agents that they ask."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery_agents import StepContext, agent, flow
from celery_agents.errors import AgentsError
from tests.support.gate import is_open


def _write(path: str, text: str) -> None:
    Path(path).write_text(text, encoding="utf-8")


def _is_there(path: str) -> bool:
    return Path(path).exists()


def _hold(path: str, log: str) -> None:
    """Hold its thread up while a file is there; two lines in the log say when."""
    with Path(log).open("a", encoding="utf-8", buffering=1) as file:
        file.write(f"begins {os.getpid()}\n")
        while _is_there(path):
            time.sleep(0.01)
        file.write(f"goes on {os.getpid()}\n")


@agent
def noted(order: dict[str, Any], step: StepContext) -> Any:
    """Writes a line to ``path``, and gives ``value``; adds an entry to ``stream``.

    Not before there is the file ``after``.
    """
    while not is_open(order):
        time.sleep(0.02)
    if (stream := order.get("stream")) is not None:
        step.emit(stream, "noted", {"value": order["value"]})
    with Path(order["path"]).open("a", encoding="utf-8") as file:
        file.write(f"{order['value']}\n")
    unless = order.get("unless")
    if order.get("fails") or (unless is not None and not _is_there(unless)):
        raise RuntimeError("it fails")
    return order["value"]


@agent
def deadly(order: dict[str, Any]) -> Any:
    """Kills its worker, the first time."""
    path = Path(order["path"])
    if not path.exists():
        path.write_text("killed", encoding="utf-8")
        os.kill(os.getpid(), signal.SIGKILL)
    return order["value"]


@agent
async def dawdle(order: dict[str, Any]) -> Any:
    """Sleeps so long that nobody waits for it; tells ``path`` when it is stopped."""
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        _write(order["path"], "stopped")
        raise


@flow
async def refund(run: Any, order: dict[str, Any]) -> Any:
    """Asks two agents at once, waits for a word, pays."""
    path = order["path"]
    facts = await asyncio.gather(
        run.ask("noted", {"path": path, "value": "crm"}),
        run.ask("noted", {"path": path, "value": "ledger"}),
    )
    approved = await run.signal("approve")
    run.emit("refunds", "decided", {"approved": approved}, key=run.id)
    paid = approved and await run.ask("noted", {"path": path, "value": "paid"})
    return {"facts": facts, "paid": bool(paid)}


@flow
async def asking(run: Any, by: list[str]) -> Any:
    """Asks two people one after the other, and one who has no time."""
    if not (said := await run.approval({"pay": 7}, by=by)):
        return said.reason
    how = await run.approval("How?", choices=["cash", "card"])
    try:
        await asyncio.wait_for(run.approval("Quickly?"), 0.1)
    except TimeoutError:
        return [said.by, how.choice, how.reason]


def _after(order: dict[str, Any]) -> dict[str, Any]:
    return {"after": order["after"]} if "after" in order else {}


@flow
async def stages(run: Any, order: dict[str, Any]) -> Any:
    """Goes through so many stages of three branches each, the last ``after`` there is a file."""
    found = []
    retry = {"max_attempts": 20}  # whoever is under way at each kill is not to be given up
    for stage in range(order["stages"]):
        about = {"path": order["path"]}
        if stage == order["stages"] - 1:
            about |= _after(order)
        asked = (
            run.ask("noted", {**about, "value": f"{stage}.{branch}"}, retry=retry)
            for branch in range(3)
        )
        found += await asyncio.gather(*asked)
    return found


@flow
async def impatient(run: Any, order: dict[str, Any]) -> Any:
    """Waits for an agent for a second, and for a signal that comes never."""
    with suppress(TimeoutError):
        await asyncio.wait_for(run.ask("dawdle", order), 1)
    try:
        return await asyncio.wait_for(run.signal("never"), 0.5)
    except TimeoutError:
        return "late"


@flow
async def survivor(run: Any, order: dict[str, Any]) -> Any:
    """Asks an agent that kills its worker, and one that fails."""
    found = [await run.ask("deadly", {**order, "value": 1})]
    try:
        await run.ask("noted", {"path": order["lines"], "value": "x", "fails": True})
    except AgentsError as error:
        found.append(error.kind)
    finally:
        found.append(await run.ask("noted", {"path": order["lines"], "value": "cleaned"}))
    child = await run.start("child", 7)
    return [*found, child]


@flow
async def tidied(run: Any, order: dict[str, Any]) -> Any:
    """Waits for an agent and for a word; cleans up."""
    try:
        await asyncio.gather(run.ask("dawdle", order), run.signal("go"))
    finally:
        await run.ask("noted", {"path": order["lines"], "value": "cleaned"})


@flow
async def endless(run: Any, told: dict[str, Any]) -> Any:
    """Takes a word a generation, and begins anew; the word ``end`` ends it."""
    word = await run.signal("word")
    value = f"{word} {len(told['words'])}"
    await run.ask("noted", {"path": told["path"], "value": value}, key="note")
    if word == "end":
        return told["words"]
    return run.again({**told, "words": [*told["words"], word]})


@flow
async def taking(run: Any, told: dict[str, Any]) -> Any:
    """Takes three words a generation, up to ``most``; a cancelled one gives what it has."""
    words = list(told["words"])
    try:
        for _ in range(3):
            words.append(await run.signal("word"))
            if len(words) == told["most"]:
                return words
    except asyncio.CancelledError:
        return words
    return run.again({**told, "words": words})


@flow
async def held(run: Any, order: dict[str, Any]) -> Any:
    """Is held up amid its code while ``held`` is there; then says which process goes on."""
    word, me = await run.signal("go"), os.getpid()
    _hold(order["held"], order["log"])
    run.emit("held", order["then"], {"by": me})
    if order["then"] == "asks":
        return await run.ask("noted", {"path": order["path"], "value": me})
    if order["then"] == "begins anew":
        run.again({**order, "then": "ends"})
    return [word, me]


@flow
async def in_a_row(run: Any, order: dict[str, Any]) -> Any:
    """Asks one after the other, so many; the last when there is the file ``after``."""
    retry = {"max_attempts": 20}
    found = []
    for n in range(order["steps"]):
        told = {"path": order["lines"], "value": n}
        if n == order["steps"] - 1:
            told |= _after(order)
        found.append(await run.ask("noted", told, retry=retry))
    return found


@flow
async def mending(run: Any, order: dict[str, Any]) -> Any:
    """Asks one that answers, and one that fails until it is mended."""
    about = {"path": order["lines"]}
    first = await run.ask("noted", {**about, "value": "first"})
    second = {**about, "value": "second", "unless": order["mended"]}
    return [first, await run.ask("noted", second)]


@flow
async def child(run: Any, told: int) -> Any:
    """Is started by another flow."""
    vote = await run.vote(["noop", "noop"], "yes", choices=["yes", "no"])
    await asyncio.sleep(0.1)
    return [told, vote.option, str(run.uuid4()) == str(run.uuid4())]


@flow(name="changed", version=1)
async def changed_1(run: Any, path: str) -> Any:
    """Asks otherwise once a file is there."""
    asked = "new" if _is_there(path) else "old"
    await run.ask("noop", asked, key="first")
    return await run.signal("go")
