"""Operations of an HTTP service as tools."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any, NamedTuple

from agents.net.clients import ResolveSecret, SharedClients
from agents.tools.base import CallContext, Tool
from agents.tools.calls import ToolCall, ToolError, ToolSpec, heard, wrong_arguments
from agents.tools.policy import Approve, ToolPolicy
from agents.tools.toolset import FixedToolset
from agents.toolsets.openapi.documents import read_document
from agents.toolsets.openapi.entries import OpenApiTools
from agents.toolsets.openapi.operations import (
    Routes,
    ServiceOperation,
    operations_of,
    routes_of,
)
from agents.toolsets.openapi.requests import prepare
from agents.toolsets.openapi.service import HttpService
from celery_agents.agent import Effects
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import ConfigurationError

#: By what the methods mean (RFC 9110, 9.2): the same request again changes nothing more.
_EFFECTS: dict[str, Effects] = {"post": "effect", "patch": "effect"}
#: The argument that says how many pages of a list are read.
PAGES = "pages"


class OperationTool(Tool):
    """An operation as a tool; its calls are requests, and what comes back is others' text."""

    def __init__(
        self, operation: ServiceOperation, service: HttpService, *, pages: int = 1
    ) -> None:
        effects = _EFFECTS.get(operation.method, "idempotent")
        self.operation = operation
        self.name = operation.name
        self.description = operation.description
        self.parameters = operation.parameters
        self.policy = ToolPolicy(effects=effects, untrusted=True)
        self._service = service
        own = operation.parameters["properties"]
        self._takes_pages = pages > 1 and operation.method == "get" and PAGES not in own
        if self._takes_pages:
            told = f"Paging of a long list that are read at once, up to {pages}."
            schema: dict[str, Any] = {
                "type": "integer",
                "minimum": 1,
                "maximum": pages,
                "description": told,
            }
            self.parameters = {**self.parameters, "properties": {**own, PAGES: schema}}

    async def call(
        self,
        arguments: JsonValue,
        *,
        context: CallContext | None = None,
        executor: Executor | None = None,  # noqa: ARG002 - it runs on the loop
    ) -> JsonValue:
        """Send the request of a call.

        Raises:
            ToolError: wrong arguments, or the service refuses.
        """
        if (wrong := self.problem(arguments)) is not None or not isinstance(arguments, dict):
            raise ToolError(f"Wrong arguments. {wrong}")
        given = dict(arguments)
        told = given.pop(PAGES, 1) if self._takes_pages else 1
        pages = told if isinstance(told, int) else 1
        key = "" if context is None else context.key
        act = self._service.send(prepare(self.operation, given), key=key, pages=pages)
        return await heard(act)

    def problem(self, arguments: JsonValue) -> str | None:
        """Say what is wrong with a model's arguments by the operation's schema, if anything is."""
        if not isinstance(arguments, dict):
            return "The arguments must be a JSON object."
        spec = ToolSpec(name=self.name, description="", parameters=self.parameters)
        return wrong_arguments(ToolCall(id="", name=self.name, arguments=arguments), spec)


class Operations(NamedTuple):
    """The operations of a service as tools."""

    service: HttpService
    tools: list[OperationTool]
    #: About which of them a person is asked, by their names or patterns of these.
    approve: dict[str, Approve]


def read_operations(
    name: str, entry: OpenApiTools, *, clients: SharedClients, resolve_secret: ResolveSecret
) -> Operations:
    """The operations of the service that an entry describes.

    Raises:
        ConfigurationError: the description cannot be had, or a pattern fits none of its routes.
    """
    document = read_document(entry.spec, entry.sha256)
    server = entry.server or document.server()
    if server is None:
        raise ConfigurationError('spec: it names no server: say server = "https://…".')
    routes = routes_of(document)
    for what, patterns in (
        ("include", entry.include),
        ("exclude", entry.exclude),
        ("approve", [p for p in entry.approve if " " in p]),
    ):
        for pattern in patterns:
            if not any(Routes([pattern]).fits(*route) for route in routes):
                raise ConfigurationError(f"{what}: {pattern} fits none of {len(routes)} routes.")
    found = operations_of(
        document,
        include=Routes(entry.include),
        exclude=Routes(entry.exclude),
        prefix=entry.prefix,
    )
    service = HttpService(name, entry, server, clients=clients, resolve_secret=resolve_secret)
    pages = 1 if entry.pages is None else entry.pages.most
    tools = [OperationTool(operation, service, pages=pages) for operation in found]
    return Operations(service, tools, _approve(entry, tools))


def _approve(entry: OpenApiTools, tools: list[OperationTool]) -> dict[str, Approve]:
    """Words by tools' names: of a route, by those of the operations that it fits."""
    found: dict[str, Approve] = {}
    for pattern, word in entry.approve.items():
        if " " not in pattern:
            found[pattern] = word
            continue
        route = Routes([pattern])
        for tool in tools:
            if route.fits(tool.operation.method, tool.operation.path):
                name = f"{entry.prefix}{tool.name}"
                found.pop(name, None)  # the last that fits wins
                found[name] = word
    return found


class ServiceToolset(FixedToolset):
    """The tools of one service, and its connections."""

    def __init__(self, name: str, service: HttpService, *tools: Tool) -> None:
        super().__init__(name, *tools)
        self._service = service

    async def aclose(self) -> None:
        await self._service.aclose()
