"""The server: which messages it answers, and by what."""

from __future__ import annotations

from typing import Any

from mcp import types
from mcp.server.lowlevel import Server

from api.mcp import failures, resources
from api.mcp.answers import mistaken, result_of, unfinished
from api.mcp.callers import Caller, HttpCaller, PipedCaller, check_may
from api.mcp.calls import begin
from api.mcp.holding import HeldCalls, end_of
from api.mcp.offered import tools_of
from app.access.permissions import Permission
from celery_agents.errors import InvalidPayloadError, PayloadTooLargeError

_TOLD = (
    "Each tool is an agent, or a panel of several. A call is a durable run: it is done even when "
    "the call is cut. Its id stands in the result's _meta (celery-agents/run), and run://ID says "
    "how it is."
)


class AgentServer:
    """Handlers of messages; one of a process.

    ``piped`` is whoever sends what comes by no request.
    """

    def __init__(self, version: str, piped: PipedCaller | None = None) -> None:
        self._piped = piped
        self.held = HeldCalls()
        self.server: Server[Any] = Server(
            "celery-agents",
            version=version,
            instructions=_TOLD,
            on_list_tools=self._list_tools,
            on_call_tool=self._call,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read,
        )
        self.server.middleware.append(failures.told)

    async def caller(self, ctx: Any) -> Caller:
        """The sender of a message.

        Raises:
            ProblemError: its key holds no longer.
        """
        if ctx.request is not None:
            return HttpCaller(ctx.request)
        assert self._piped is not None
        return await self._piped.identified()

    async def _list_tools(self, ctx: Any, params: Any) -> types.ListToolsResult:
        caller = await self.caller(ctx)
        check_may(caller, Permission.AGENTS_READ)
        return await tools_of(caller, _cursor(params))

    async def _call(self, ctx: Any, params: Any) -> types.CallToolResult:
        caller = await self.caller(ctx)
        with self.held.place(caller.who.id):
            try:
                run = await begin(caller, params.name, params.arguments or {}, meta_of(ctx))
            except (InvalidPayloadError, PayloadTooLargeError) as error:
                return mistaken(error.message)
            outcome = await end_of(caller, run.id, look=run.replayed, tell=_telling(ctx))
        return unfinished(run.id) if outcome is None else result_of(run.id, run.task, outcome)

    async def _list_resources(self, ctx: Any, params: Any) -> types.ListResourcesResult:
        caller = await self.caller(ctx)
        check_may(caller, Permission.AGENTS_READ)
        return await resources.resources_of(caller, _cursor(params))

    async def _list_templates(self, ctx: Any, _: Any) -> types.ListResourceTemplatesResult:
        await self.caller(ctx)
        return resources.templates()

    async def _read(self, ctx: Any, params: Any) -> types.ReadResourceResult:
        return await resources.read(await self.caller(ctx), str(params.uri))


def _cursor(params: Any) -> str | None:
    found: str | None = None if params is None else params.cursor
    return found


def meta_of(ctx: Any) -> dict[str, Any]:
    """The ``_meta`` of a request, as it was sent."""
    found = (ctx.params or {}).get("_meta")
    return dict(found) if isinstance(found, dict) else {}


def _telling(ctx: Any) -> Any:
    async def tell(seconds: float) -> None:
        await ctx.session.report_progress(round(seconds, 1), None, "The run goes on.")

    return tell
