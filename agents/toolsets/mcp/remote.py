"""A server as it is asked: for its tools, and to call one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from mcp import Client, MCPError
from mcp.types import CONNECTION_CLOSED, CallToolResult
from pydantic import ValidationError

from agents.timing import RenewedLimit
from agents.tools.calls import ToolError, ToolFailedError, too_late
from agents.toolsets.mcp.entries import McpTools
from agents.toolsets.mcp.listing import RemoteTool
from agents.toolsets.mcp.logins import ServerResources
from agents.toolsets.mcp.opening import FORGOTTEN, MISSING, ServerWay
from agents.toolsets.mcp.results import value_of
from agents.toolsets.mcp.supervising import ServerSupervisor
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import ConfigurationError, ProviderUnavailableError

#: What a call says of its idempotency key, for servers that look for one.
KEY = "celery-agents/idempotency-key"
#: What the SDK raises of an answer that is none, or of a server that asks back without end.
UNREADABLE = (ValidationError, RuntimeError)
#: More pages, or tools, than these are not read of one list.
_MOST_PAGES, _MOST_TOOLS = 100, 5_000

T = TypeVar("T")


class Remote:
    """One server, of one process; what it raises becomes an error of ours."""

    def __init__(self, name: str, entry: McpTools, resources: ServerResources) -> None:
        self._name, self._entry = name, entry
        self._way = ServerWay(name, entry, resources)
        self._supervisor = ServerSupervisor(name, entry, self._way)

    async def tools(self) -> list[Any]:
        """The tools that it has now.

        Raises:
            BreakerOpenError: it is not asked for now.
            ProviderUnavailableError: it cannot be asked.
            ConfigurationError: it has more than anybody reads, or wants a person to sign in.
        """
        for again in (True, False):
            client = await self._supervisor.client()
            try:
                return await _apart(self._pages(client))
            except MCPError as error:
                self._heard(client, error)
                if again and error.code == FORGOTTEN:
                    continue
                text = f"The MCP server {self._name!r} lists no tools: {self._said(error)}"
                raise ProviderUnavailableError(text) from None
            except UNREADABLE as error:
                text = f"The MCP server {self._name!r} lists its tools as nobody can read them"
                raise ProviderUnavailableError(f"{text}: {type(error).__name__}") from None
        raise AssertionError("the second time it returns or raises")

    async def call(self, tool: RemoteTool, arguments: dict[str, Any], *, key: str) -> JsonValue:
        """The value of a call's result.

        Raises:
            BreakerOpenError: it is not asked for now.
            ProviderUnavailableError: it cannot be asked.
            ToolError: the server or the tool refuses.
            ToolFailedError: it did not answer in time, or was lost.
            ConfigurationError: it wants a person to sign in.
        """
        for again in (True, False):
            client = await self._supervisor.client()
            try:
                return self._value(await self._called(client, tool, arguments, key))
            except MCPError as error:
                lost = self._heard(client, error)
                if again and error.code == FORGOTTEN:
                    continue  # it was refused unread
                if not lost:
                    raise ToolError(self._said(error)) from None
                raise ToolFailedError(
                    f"The MCP server {self._name!r} was lost in the call, and what it did is not "
                    f"known: {self._said(error)}"
                ) from None
            except UNREADABLE as error:
                raise ToolFailedError(
                    f"The MCP server {self._name!r} answered what nobody can read, and what it "
                    f"did is not known: {type(error).__name__}"
                ) from None
        raise AssertionError("the second time it returns or raises")

    async def aclose(self) -> None:
        """End the connection, and its program."""
        await self._supervisor.aclose()

    async def _called(
        self, client: Client, tool: RemoteTool, arguments: dict[str, Any], key: str
    ) -> CallToolResult:
        limit = RenewedLimit(self._entry.call_timeout_s, self._entry.call_timeout_max_s)

        async def progress(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001 - as the SDK calls it
            limit.renew()

        meta: Any = {KEY: key}

        act = client.call_tool(tool.name, arguments, progress_callback=progress, meta=meta)
        late = lambda: ToolFailedError(too_late(tool.spec.name, limit.waited_s))  # noqa: E731
        return await limit.hold(_apart(act), late)

    def _value(self, result: CallToolResult) -> JsonValue:
        try:
            return value_of(result)
        except ToolError as error:
            raise ToolError(self._way.said(str(error))) from None

    async def _pages(self, client: Client) -> list[Any]:
        found: list[Any] = []
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = await client.list_tools(cursor=cursor)
            found += page.tools
            cursor = page.next_cursor
            if cursor is None or len(found) > _MOST_TOOLS:
                break
        if cursor is not None or len(found) > _MOST_TOOLS:
            text = f"The MCP server {self._name!r} lists more than {len(found):,} tools."
            raise ConfigurationError(text)
        return found

    def _heard(self, client: Client, error: MCPError) -> bool:
        """Return whether an error says that the connection is lost, and have it left then.

        Raises:
            ConfigurationError: something is missing here, such as a person's login.
        """
        if error.code == MISSING:
            raise ConfigurationError(self._said(error)) from None
        lost = error.code in {CONNECTION_CLOSED, FORGOTTEN}
        if lost:
            self._supervisor.lost(client, failed=error.code != FORGOTTEN)
        return lost

    def _said(self, error: MCPError) -> str:
        return self._way.said(error.message)


async def _apart(act: Coroutine[Any, Any, T]) -> T:
    """Run an act in a task of its own, where the SDK's scopes meet nobody else's."""
    return await asyncio.create_task(act)
