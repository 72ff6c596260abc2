"""Calling built-in tools as an agent's step does."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.net.clients import SharedClients
from agents.net.outside import PrivateHosts
from agents.tools.calls import heard
from agents.tools.toolset import FixedToolset
from agents.toolsets.builtin.catalogue import functions
from agents.toolsets.builtin.files.root import Root
from agents.toolsets.builtin.offer import made, offer_of
from agents.toolsets.builtin.web.home import Web
from agents.toolsets.builtin.web.requesting import Downloads
from agents.toolsets.builtin.web.searching import Search
from agents.toolsets.entries import SearchEngine
from deploy.local.servers import LOOPBACK
from tests.support.memory_step import MemoryStep
from tests.unit.agents.toolsets.builtin.site import site

MAIL = b"From: ann@example.com\nSubject: A plan\nContent-Type: text/plain\n\nSee you.\n"


def called(name: str, /, **arguments: Any) -> Any:
    """What the tool gives; one of files in a folder of its own, with those of :func:`fill`.

    example.com is the server of :mod:`site`.
    """
    home = offer_of(functions()[name]).home
    if not home:
        return called_at({}, name, **arguments)
    if "url" in arguments:
        arguments["url"] = str(arguments["url"]).replace("https://example.com", site().url)
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder))
        root, way = Root(Path(folder)), web()
        engine = SearchEngine(engine="searxng", url=site().url)
        homes = {
            "root": root,
            "web": way,
            "downloads": Downloads(way, root),
            "search": Search.of(engine, way),
        }
        return called_at(homes, name, **arguments)


def web(**options: Any) -> Web:
    """The way to the server of :mod:`site`."""
    given: dict[str, Any] = {
        "clients": SharedClients(),
        "private": PrivateHosts.of([LOOPBACK]),
        "resolve_secret": {"TOKEN": "s3cret-value"}.get,
    }
    return Web(**given | options)


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
