"""Calling built-in tools as an agent's step does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from agents.tools.calls import heard
from agents.tools.toolset import FixedToolset
from agents.toolsets.builtin.catalogue import Given, functions
from agents.toolsets.builtin.offer import made, offer_of
from tests.support.memory_step import MemoryStep


def called(name: str, given: Given | None = None, /, **arguments: Any) -> Any:
    """What the tool gives; ``arguments`` besides those of its example, if it is to have them."""
    tool = made(functions(given)[name])
    home = FixedToolset("builtin", tool)

    async def call() -> Any:
        act = home.call(tool.name, arguments, key="key", step=MemoryStep())
        return await heard(act)

    return asyncio.run(call())


def example(name: str, given: Given | None = None) -> Any:
    """What its example gives."""
    return called(name, given, **dict(offer_of(functions(given)[name]).example))


def within(root: Path, **more: Any) -> Given:
    """A configuration whose files lie there."""
    return Given(root=root, **more)
