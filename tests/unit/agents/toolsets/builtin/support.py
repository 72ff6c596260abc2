"""Calling built-in tools as an agent's step does."""

from __future__ import annotations

import asyncio
from typing import Any

from agents.tools.calls import heard
from agents.tools.toolset import FixedToolset
from agents.toolsets.builtin.catalogue import functions
from agents.toolsets.builtin.offer import made, offer_of
from tests.support.memory_step import MemoryStep


def called(name: str, /, **arguments: Any) -> Any:
    """What the tool gives."""
    tool = made(functions()[name])
    home = FixedToolset("builtin", tool)

    async def call() -> Any:
        act = home.call(tool.name, arguments, key="key", step=MemoryStep())
        return await heard(act)

    return asyncio.run(call())


def example(name: str) -> Any:
    """What its example gives."""
    return called(name, **dict(offer_of(functions()[name]).example))
