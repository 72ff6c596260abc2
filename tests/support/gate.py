"""Agents that end when the test that asked them has seen enough, on whatever machine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any


async def may_end(order: dict[str, Any]) -> None:
    """Take the order's ``seconds``, then wait until there is the file ``after``."""
    await asyncio.sleep(order.get("seconds", 0))
    while not is_open(order):  # noqa: ASYNC110 - another process opens it
        await asyncio.sleep(0.02)


def is_open(order: dict[str, Any]) -> bool:
    """Tell whether the file is there; an order that names none waits for nothing."""
    return "after" not in order or Path(order["after"]).exists()
