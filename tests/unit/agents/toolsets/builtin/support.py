"""Calling built-in tools as an agent's step does."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.tools.calls import heard
from agents.tools.toolset import FixedToolset
from agents.toolsets.builtin.catalogue import functions
from agents.toolsets.builtin.files.root import Root
from agents.toolsets.builtin.offer import made, offer_of
from tests.support.memory_step import MemoryStep

MAIL = b"From: ann@example.com\nSubject: A plan\nContent-Type: text/plain\n\nSee you.\n"


def called(name: str, /, **arguments: Any) -> Any:
    """What the tool gives; a tool of files in a folder of its own, with those of :func:`fill`."""
    if not offer_of(functions()[name]).home:
        return called_at({}, name, **arguments)
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder))
        return called_at({"root": Root(Path(folder))}, name, **arguments)


def called_at(homes: Mapping[str, Any], name: str, /, **arguments: Any) -> Any:
    """What the tool gives, with what its toolset has."""
    tool = made(functions()[name], homes)
    home = FixedToolset("builtin", tool)

    async def call() -> Any:
        act = home.call(tool.name, arguments, key="key", step=MemoryStep())
        return await heard(act)

    return asyncio.run(call())


def fill(folder: Path) -> None:
    """Write the files that examples name."""
    (folder / "docs").mkdir()
    (folder / "docs" / "a.txt").write_text("a cat\na dog\n")
    (folder / "docs" / "mail.eml").write_bytes(MAIL)


def example(name: str) -> Any:
    """What its example gives."""
    return called(name, **dict(offer_of(functions()[name]).example))
