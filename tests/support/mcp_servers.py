"""MCP servers of the tests, and toolsets of them."""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from agents.net.clients import SharedClients
from agents.net.outside import PrivateHosts
from agents.toolsets.entries import NamedTools
from agents.toolsets.kinds import KINDS, ToolResources
from agents.toolsets.mcp.logins import Login, Logins
from agents.toolsets.mcp.loopback import listening
from agents.toolsets.mcp.toolset import McpToolset
from deploy.local.servers import LOOPBACK, is_free
from tests.fakes import mcp_server

T = TypeVar("T")

#: A program that speaks by its standard input and output.
COMMAND = (sys.executable, "-I", str(mcp_server.__file__))


#: Where authorization servers of the tests are: on this machine.
HERE = PrivateHosts.of(["localhost", LOOPBACK])


def toolset(
    *,
    secrets: Mapping[str, str] = os.environ,
    name: str = "desk",
    logins: Logins | None = None,
    private: PrivateHosts = HERE,
    **fields: Any,
) -> Any:
    """A toolset of a server: of the fake one's program, unless the fields say otherwise."""
    if "url" not in fields:
        fields = {"command": COMMAND} | fields
    kind = KINDS["mcp"]
    entry: NamedTools = kind.entry.model_validate({"kind": "mcp", **fields})
    resources = ToolResources(
        secrets.get,
        ThreadPoolExecutor(1),
        SharedClients(),
        private,
        logins=Logins() if logins is None else logins,
    )
    found = kind.make(name, entry, resources)
    assert isinstance(found, McpToolset)
    return found


class Keeping(Logins):
    """Logins of a person who signs in now; what is kept is told elsewhere, too."""

    def __init__(self, person: Any, told: Callable[[str, Login], Awaitable[None]]) -> None:
        super().__init__(person)
        self._told = told

    async def keep(self, name: str, login: Login) -> None:
        await super().keep(name, login)
        await self._told(name, login)


async def signed_in(
    url: str, name: str, told: Callable[[str, Login], Awaitable[None]], **auth: Any
) -> None:
    """Have a person sign in at a server, whose browser agrees to everything."""
    async with listening(0, Browser().open) as person:
        about = {"login": True, **auth}
        desk = toolset(url=url, name=name, logins=Keeping(person, told), auth=about)
        await closed(desk, names(desk))


class Browser:
    """Opens pages as a person does who agrees, and goes where they lead."""

    def __init__(self) -> None:
        self._going: set[asyncio.Task[None]] = set()

    def open(self, url: str) -> None:
        """Look at a page."""
        going = asyncio.create_task(self._go(url))
        self._going.add(going)
        going.add_done_callback(self._going.discard)

    @staticmethod
    async def _go(url: str) -> None:
        async with httpx2.AsyncClient(follow_redirects=True, timeout=100) as client:
            (await client.get(url)).raise_for_status()


async def call(of: McpToolset, name: str, **arguments: Any) -> Any:
    step: Any = None
    return await of.call(name, arguments, key="key-1", step=step)


async def names(of: McpToolset) -> list[str]:
    step: Any = None
    return [spec.name for spec in await of.specs(step)]


async def closed(of: McpToolset, act: Awaitable[T]) -> T:
    """Give what an act gives, with the toolset closed after it."""
    try:
        return await act
    finally:
        await of.aclose()


def on_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on a loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **given: Any) -> None:
        asyncio.run(test(*args, **given))

    return run


@contextmanager
def speaking_http(port: int, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """The fake server, by HTTP."""
    from tests.integration.harness import eventually

    command = [*COMMAND, str(port)]
    process = subprocess.Popen(command, env={"PATH": os.environ["PATH"], **env})
    try:
        eventually(lambda: not is_free(port), "the server listens")
        yield process
    finally:
        process.kill()
        process.wait()


def alive(pid: int) -> bool:
    """Return true of a process that is there, and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
