"""A bank as tools, whose books stand in a file outside of the journal; it may kill its worker.

A payment is two lines of the book, ``debit`` and ``credit``: order, cents, idempotency key.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from celery_agents import CallContext, tool
from tests.chaos.agents import act_began

#: Names the file of the books; each worker of the stand has it in its environment.
BOOKS = "CHAOS_BOOKS"
#: Where a worker can die: the payment has not begun, is half done, is done and not journaled.
MOMENTS = ("before", "in", "after")
_PART_S = 0.03


def _book(*words: object) -> None:
    """Append one line; a single write of that size is not torn by other processes."""
    with Path(os.environ[BOOKS]).open("a", encoding="utf-8") as file:
        file.write(" ".join(map(str, words)) + "\n")


def _die(order: str) -> None:
    """Kill this process; the first time that this order comes here."""
    try:
        Path(f"{os.environ[BOOKS]}.{order}").touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


@tool(approve="ask")
async def pays(order: str, cents: int, dies: str, call: CallContext) -> str:
    """Pays money out. The process dies at the moment that is given."""
    act_began(call)
    if dies == "before":
        _die(order)
    await asyncio.sleep(_PART_S)
    _book("debit", order, cents, call.key)
    if dies == "in":
        _die(order)
    await asyncio.sleep(_PART_S)
    _book("credit", order, cents, call.key)
    if dies == "after":
        _die(order)
    await asyncio.sleep(_PART_S)
    return "paid"
