"""The server: which messages it answers, and by what."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mcp import types
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from api.mcp import failures, news, prompts, resources
from api.mcp.answers import mistaken, result_of, unfinished, value_of
from api.mcp.callers import Caller, HttpCaller, PipedCaller, check_may
from api.mcp.calls import CalledRun, begin
from api.mcp.configured import Configured
from api.mcp.held import HeldCall, meta_of, telling
from api.mcp.holding import HeldCalls
from api.mcp.journaled import (
    TaskId,
    TaskInput,
    answered,
    cancelled,
    check_core,
    check_named,
    has_extension,
    kept_ms,
    listed,
    result,
    shown,
    task_of,
)
from api.mcp.listening.streams import Listening, told_lists
from api.mcp.offered import tools_of
from api.mcp.states import CORE, EXTENSION, WORKING, core_task, ended, extension_task
from app.access.permissions import Permission
from celery_agents.contracts.outcome import Outcome
from celery_agents.errors import InvalidPayloadError, PayloadTooLargeError
from celery_agents.wire.ids import begun_at

_TOLD = (
    "Each tool is an agent, or a panel of several. A call is a durable run: it is done even when "
    "the call is cut. Its id stands in the result's _meta (celery-agents/run), and run://ID says "
    "how it is."
)
#: Tasks as 2025-11-25 announces them.
_CAPABLE: dict[str, Any] = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}


class AgentServer:
    """Handlers of messages; one of a process.

    ``piped`` is whoever sends what comes by no request.
    """

    def __init__(
        self,
        version: str,
        piped: PipedCaller | None = None,
        current: Callable[[], Configured] = Configured,
    ) -> None:
        self._piped, self._current = piped, current
        self.held, self.listening = HeldCalls(), Listening(self.caller, current)
        self.server: Server[Any] = Server(
            "celery-agents",
            version=version,
            instructions=_TOLD,
            on_list_tools=self._list_tools,
            on_call_tool=self._call,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read,
            on_list_prompts=self._list_prompts,
            on_get_prompt=self._prompt,
            on_completion=self._complete,
            on_subscribe_resource=self.listening.subscribe,
            on_unsubscribe_resource=self.listening.unsubscribe,
            on_subscriptions_listen=self.listening.listen,
        )
        self.server.middleware += [failures.told, self._with_tasks]
        self.server.extensions[EXTENSION] = {}
        methods: tuple[tuple[str, Any, Any], ...] = (
            ("logging/setLevel", types.SetLevelRequestParams, self._set_level),
            ("tasks/get", TaskId, self._get_task),
            ("tasks/result", TaskId, self._task_result),
            ("tasks/list", types.PaginatedRequestParams, self._list_tasks),
            ("tasks/cancel", TaskId, self._cancel_task),
            ("tasks/update", TaskInput, self._update_task),
        )
        for method, params, handler in methods:
            self.server.add_request_handler(method, params, handler)

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

    async def _call(self, ctx: Any, params: Any) -> Any:
        caller = await self.caller(ctx)
        by_task = ctx.protocol_version > CORE and has_extension(ctx)
        arguments = params.arguments or {}
        about = [params.name, arguments]
        stream_s = self._current().stream_s
        call = HeldCall(ctx, caller, params, about, by_task=by_task, stream_s=stream_s)
        with self.held.place(caller.who.id):
            try:
                run = await call.begun(params.name, arguments)
            except (InvalidPayloadError, PayloadTooLargeError) as error:
                return mistaken(error.message)
            if run.as_task:
                return await _as_task(caller, run)
            outcome = await call.end()
        if isinstance(outcome, Outcome):
            return result_of(run.id, run.task, outcome)
        if outcome is not None:
            return outcome
        return await _as_task(caller, run) if by_task else unfinished(run.id)

    async def _list_resources(self, ctx: Any, params: Any) -> types.ListResourcesResult:
        caller = await self.caller(ctx)
        check_may(caller, Permission.AGENTS_READ)
        return await resources.resources_of(caller, self._current(), _cursor(params))

    async def _list_templates(self, ctx: Any, _: Any) -> types.ListResourceTemplatesResult:
        await self.caller(ctx)
        return resources.templates(self._current())

    async def _read(self, ctx: Any, params: Any) -> Any:
        caller, uri = await self.caller(ctx), str(params.uri)
        check_may(caller, Permission.AGENTS_READ)
        found = self._current().resource(uri)
        if found is None:
            return await resources.read(caller, uri, ctx.protocol_version)
        resource, given = found
        if resource.tool is None:
            return resources.told(uri, resource, given)
        told = await self._asked(ctx, params, caller, resource.tool, given)
        if isinstance(told, Outcome):
            return resources.answered(uri, resource, told)
        return told

    async def _list_prompts(self, ctx: Any, params: Any) -> types.ListPromptsResult:
        check_may(await self.caller(ctx), Permission.AGENTS_READ)
        return prompts.prompts_of(self._current(), _cursor(params))

    async def _prompt(self, ctx: Any, params: Any) -> Any:
        caller = await self.caller(ctx)
        check_may(caller, Permission.AGENTS_READ)
        prompt, given = prompts.prompt_of(self._current(), params.name, params.arguments or {})
        if prompt.tool is None:
            return prompts.messages_of(prompt, {"messages": prompt.filled(given)})
        told = await self._asked(ctx, params, caller, prompt.tool, given)
        if isinstance(told, Outcome):
            return prompts.messages_of(prompt, value_of(told))
        return told

    async def _complete(self, ctx: Any, params: Any) -> types.CompleteResult:
        caller = await self.caller(ctx)
        check_may(caller, Permission.AGENTS_READ)
        return await prompts.completed(caller, self._current(), params)

    async def _asked(
        self, ctx: Any, params: Any, caller: Caller, name: str, arguments: dict[str, str]
    ) -> Any:
        """The end of a tool's run that makes a prompt or a resource, or what it asks its client."""
        about = [getattr(params, "name", None) or str(params.uri), arguments]
        call = HeldCall(ctx, caller, params, about)
        with self.held.place(caller.who.id):
            run = await call.begun(name, dict(arguments))
            outcome = await call.end()
        if outcome is None:
            raise MCPError(types.INTERNAL_ERROR, f"The run {run.id} has not ended yet.")
        return outcome

    async def _set_level(self, ctx: Any, params: Any) -> types.EmptyResult:
        await news.set_level(ctx, await self.caller(ctx), params.level)
        return types.EmptyResult()

    async def _with_tasks(self, ctx: Any, call_next: Any) -> Any:
        """Middleware: what the SDK does not know of 2025-11-25, its tasks."""
        if (
            ctx.method == "tools/call"
            and ctx.protocol_version == CORE
            and "task" in (ctx.params or {})
        ):
            params = types.CallToolRequestParams.model_validate(ctx.params, by_name=False)
            if params.task is not None:
                caller = await self.caller(ctx)
                run = await begin(caller, params.name, params.arguments or {}, meta_of(ctx))
                return {"task": await _core_task(caller, run)}
        told = await call_next(ctx)
        if ctx.method == "initialize" and told.get("protocolVersion") == CORE:
            told = {**told, "capabilities": {**told["capabilities"], "tasks": _CAPABLE}}
        if ctx.method != "initialize" and ctx.request is None and ctx.protocol_version <= CORE:
            self.listening.pipe.follow(ctx)
        if ctx.method == "initialize":
            told = {**told, "capabilities": told_lists(told["capabilities"])}
        return told

    async def _get_task(self, ctx: Any, params: TaskId) -> dict[str, Any]:
        core = check_named(ctx, params.task_id)
        caller = await self.caller(ctx)
        return await shown(caller, await task_of(caller, params.task_id), core=core)

    async def _task_result(self, ctx: Any, params: TaskId) -> dict[str, Any]:
        check_core(ctx)
        caller = await self.caller(ctx)
        tree = await task_of(caller, params.task_id)
        with self.held.place(caller.who.id):
            return await result(caller, tree, telling(ctx))

    async def _list_tasks(self, ctx: Any, params: Any) -> dict[str, Any]:
        check_core(ctx)
        return await listed(await self.caller(ctx), _cursor(params))

    async def _cancel_task(self, ctx: Any, params: TaskId) -> dict[str, Any]:
        core = check_named(ctx, params.task_id)
        caller = await self.caller(ctx)
        tree = await task_of(caller, params.task_id)
        if not core and ended(tree) is not None:
            return {}
        tree = await cancelled(caller, tree)
        return await shown(caller, tree, core=True) if core else {}

    async def _update_task(self, ctx: Any, params: TaskInput) -> dict[str, Any]:
        if check_named(ctx, params.task_id):
            raise MCPError(types.METHOD_NOT_FOUND, "Method not found", ctx.method)
        caller = await self.caller(ctx)
        await answered(caller, await task_of(caller, params.task_id), params.input_responses)
        return {}


async def _core_task(caller: Caller, run: CalledRun) -> dict[str, Any]:
    if run.replayed:
        return await shown(caller, await task_of(caller, run.id), core=True)
    return core_task({"id": run.id, "created_at": time.time()}, WORKING, kept_ms(caller))


async def _as_task(caller: Caller, run: CalledRun) -> dict[str, Any]:
    """The task of a call that was not over quickly."""
    tree = {"id": run.id, "created_at": begun_at(run.id) or time.time()}
    return {"resultType": "task", **extension_task(tree, WORKING, kept_ms(caller))}


def _cursor(params: Any) -> str | None:
    found: str | None = None if params is None else params.cursor
    return found
