"""Tools of the tests that pay money back, and may take their worker with them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

from celery_agents import CallContext, tool


def _write(words: str) -> None:
    with Path(os.environ["BANK"]).open("a") as file:
        file.write(f"{words}\n")
        file.flush()
        os.fsync(file.fileno())


def _die(where: str) -> None:
    """Kill this worker, if it is to die here; once."""
    wanted = Path(f"{os.environ['BANK']}.dies")
    if wanted.exists() and wanted.read_text() == where:
        wanted.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def _hold() -> None:
    """Wait while it is to be held up amid a payment."""
    while Path(f"{os.environ['BANK']}.holds").exists():
        time.sleep(0.02)


@tool(approve="ask")
async def refund(order: int, cents: int, call: CallContext) -> str:
    """Pays money back."""
    _write(f"begun {order} {cents} {call.key}")
    _die("in")
    await asyncio.to_thread(_hold)
    _write(f"done {order} {cents} {call.key}")
    _die("after")
    return f"{cents} paid back"


@tool(effects="pure")
async def look_up(order: int) -> dict[str, object]:
    """Finds an order."""
    _die("before")
    return {"number": order, "state": "sent"}
