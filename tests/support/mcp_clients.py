"""The official SDK's client, on a server of ours."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx2
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from tests.support.piped import piped
from tests.support.service import SERVICE

T = TypeVar("T")

#: How the client says hello: by the handshake of 2025-11-25, or as of 2026-07-28.
MODES = ("legacy", "2026-07-28")


@asynccontextmanager
async def over_http(
    url: Any, key: str | None, mode: str = "legacy", **about: Any
) -> AsyncIterator[Client]:
    """The client of a key, by streamable HTTP."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    place = f"{str(url).rstrip('/')}/mcp"
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(place, http_client=http), mode=mode, **about) as made,
    ):
        yield made


@asynccontextmanager
async def over_pipes(
    env: Mapping[str, str], mode: str = "legacy", **about: Any
) -> AsyncIterator[Client]:
    """The client of the program that ``celery -A app agents mcp --stdio`` becomes."""
    argv = [str(SERVICE.python), "-P", "-m", SERVICE.qualified("api.mcp"), "--stdio"]
    async with _over(argv, env, mode, **about) as made:
        yield made


@asynccontextmanager
async def over_its_command(env: Mapping[str, str]) -> AsyncIterator[Client]:
    """The client of ``celery -A app agents mcp --stdio``."""
    argv = SERVICE.celery("-A", SERVICE.app, "agents", "mcp", "--stdio")
    async with _over(argv, env, "legacy") as made:
        yield made


@asynccontextmanager
async def _over(
    argv: Sequence[str], env: Mapping[str, str], mode: str, **about: Any
) -> AsyncIterator[Client]:
    with piped(argv, SERVICE.environment(env), SERVICE.folder) as command:
        async with _starting(command, env, mode, **about) as made:
            yield made


def _starting(argv: Sequence[str], env: Mapping[str, str], mode: str, **about: Any) -> Client:
    command, *args = argv
    own = SERVICE.environment(env)
    given = StdioServerParameters(command=command, args=args, env=own, cwd=str(SERVICE.folder))
    # Its default is what pytest had here as the SDK was imported, in another process perhaps.
    return Client(stdio_client(given, errlog=sys.stderr), mode=mode, **about)


def run(work: Callable[[], Awaitable[T]], seconds: float = 60.0) -> T:
    """Run it on a loop of its own, for so long at the most."""

    async def bounded() -> T:
        async with asyncio.timeout(seconds):
            return await work()

    return asyncio.run(bounded())


def failure(error: BaseException) -> MCPError:
    """The error of a server in those of the client's groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, MCPError), error
    return error
