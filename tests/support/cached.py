"""Functions and tools whose results are cached: ``AGENTS_MODULES=["tests.support.cached"]``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from celery_agents import agent, tool


def _note(path: str, line: str) -> None:
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


@agent(effects="pure", cache=3600)
async def computed(order: dict[str, Any]) -> int:
    """Computes for ``seconds``, and notes that in the file ``path``."""
    _note(order["path"], "computed")
    await asyncio.sleep(order.get("seconds", 0))
    return len(order["path"])


@tool(effects="pure", cache_s=60)
def slow_length(path: str) -> int:
    """The length of a text, which takes long to find out."""
    _note(path, "counted")
    return len(path)
