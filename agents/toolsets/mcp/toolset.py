"""The tools of an MCP server as a toolset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.base import StepContext
from agents.tools.base import Tool
from agents.tools.calls import ToolError, ToolFailedError, ToolSpec
from agents.tools.toolset import Toolset
from agents.toolsets.mcp.entries import McpTools
from agents.toolsets.mcp.listing import RemoteTool, tools_of, worst_of
from agents.toolsets.mcp.logins import ServerResources
from agents.toolsets.pins import read_pins
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import RetryableError


class McpToolset(Toolset):
    """Lists and calls the tools of one server; a process has one connection to it."""

    def __init__(self, name: str, entry: McpTools, resources: ServerResources) -> None:
        """Take its entry.

        Raises:
            ConfigurationError: its file of pins cannot be read.
        """
        self.name = name
        self.effects = worst_of(entry)
        self._entry = entry
        self._resources = resources
        self._pins = read_pins(entry.pin, who=name)
        self._tools: dict[str, RemoteTool] = {}

    async def specs(self, step: StepContext) -> Sequence[Tool | ToolSpec]:  # noqa: ARG002 - the same for all
        """The tools that the server has now.

        Raises:
            ProviderUnavailableError: it cannot be reached.
            ConfigurationError: a pattern of ``approve`` fits no tool, or a person has to sign in.
        """
        return [tool.spec for tool in (await self._listed()).values()]

    async def call(self, name: str, arguments: JsonValue, *, key: str, step: StepContext) -> Any:  # noqa: ARG002 - the same for all
        """Call a tool.

        Raises:
            ToolError: the server or the tool refuses, or there is no such tool.
            ToolFailedError: the server cannot be reached, or did not answer in time.
            ConfigurationError: a person has to sign in.
        """
        if not isinstance(arguments, dict):
            raise ToolError("The arguments must be a JSON object.")
        try:
            # A step that goes on in another process has a list that this one has not asked for.
            tools = self._tools or await self._listed()
            if (tool := tools.get(name)) is None:
                raise ToolError(f"The MCP server {self.name!r} offers no tool {name!r} any more.")
            server = await self._server()
            return await server.call(tool, arguments, key=key)
        except RetryableError as error:
            raise ToolFailedError(error.message) from None

    async def aclose(self) -> None:
        if (server := self._resources.clients.take(self)) is not None:
            await server.aclose()

    async def _listed(self) -> dict[str, RemoteTool]:
        server = await self._server()
        found = await server.tools()
        self._tools = tools_of(found, self._entry, who=self.name, pins=self._pins)
        return self._tools

    async def _server(self) -> Any:
        """The server, as the running loop asks it."""
        module = await self._resources.clients.load(f"{__package__}.remote", extra="mcp")

        def make() -> Any:
            return module.Remote(self.name, self._entry, self._resources)

        return self._resources.clients.get(self, make)
