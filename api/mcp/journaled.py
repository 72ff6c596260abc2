"""Tasks: their ids are those of runs, so any process answers for each, from the journal."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from mcp import types
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import decode_header_value
from mcp.types import HEADER_MISMATCH, INVALID_PARAMS, METHOD_NOT_FOUND
from mcp.types import MISSING_REQUIRED_CLIENT_CAPABILITY as MISSING
from pydantic import Field

from api.mcp.answers import RELATED, result_of, service_error, unfinished
from api.mcp.asking import give
from api.mcp.callers import Caller, check_may
from api.mcp.forms import choice_of, form_of
from api.mcp.holding import end_of
from api.mcp.states import CORE, EXTENSION, FAILED, core_task, ended, extension_task, status_of
from api.mcp.waits.signals import give as give_signal
from api.mcp.waits.signals import signals_of
from api.problems import ProblemError
from api.runs import find
from api.tasks import check_run
from app.access.permissions import Permission, to_answer
from celery_agents.contracts.approval import CLIENT
from celery_agents.contracts.base import id_of
from celery_agents.contracts.watching import RunFilter
from celery_agents.errors import InvalidPayloadError

#: Seconds in which a run that is to be cancelled mostly has been, and between two looks.
_CANCELLED_S, _LOOK_S = 5.0, 0.1
_PAGE, _WISHES = 50, 1_000
_DAY_MS = 86_400_000


class TaskId(types.RequestParams):
    """Parameters that name a task."""

    task_id: str


class TaskInput(TaskId):
    """Answers to forms of a task, by their keys."""

    input_responses: dict[str, Any] = Field(default_factory=dict)


def kept_ms(caller: Caller) -> int:
    """Milliseconds for which a run can be read after its end."""
    return int(caller.services.settings.keep_days * _DAY_MS)


def has_extension(ctx: Any) -> bool:
    """Return whether the sender of a request of 2026-07-28 knows the extension."""
    told = ctx.session.client_capabilities
    return bool(told is not None and told.extensions and EXTENSION in told.extensions)


def untasked(ctx: Any) -> MCPError:
    """The refusal of a call that becomes no task, of a tool that is not waited for."""
    if ctx.protocol_version <= CORE:
        return MCPError(METHOD_NOT_FOUND, "The tool is called as a task alone.")
    return MCPError(MISSING, "It needs the extension of tasks.", _NEEDED)


_NEEDED: dict[str, Any] = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}


def check_core(ctx: Any) -> None:
    """Refuse a message of 2025-11-25 in another version.

    Raises:
        MCPError: there is no such method in its version.
    """
    if ctx.protocol_version != CORE:
        raise MCPError(METHOD_NOT_FOUND, "Method not found", ctx.method)


def check_named(ctx: Any, task_id: str) -> bool:
    """Refuse a message about a task that is none in its version; returns whether it is CORE's.

    Raises:
        MCPError: its header names another task, or its sender knows no tasks.
    """
    if ctx.protocol_version == CORE:
        return True
    if ctx.protocol_version < CORE:
        raise MCPError(METHOD_NOT_FOUND, "Method not found", ctx.method)
    if not has_extension(ctx):
        raise untasked(ctx)
    if ctx.request is not None:
        name = ctx.request.headers.get("mcp-name")
        if name is None or decode_header_value(name) != task_id:
            raise MCPError(HEADER_MISMATCH, "Mcp-Name is not the id of the task.")
    return False


async def task_of(caller: Caller, task_id: str) -> dict[str, Any]:
    """The run of a task.

    Raises:
        MCPError: there is none, or it is another tenant's.
        ProblemError: it may not be read.
    """
    check_may(caller, Permission.RUNS_READ)
    try:
        return await find(caller.services, caller.who, id_of(task_id))
    except (ProblemError, InvalidPayloadError):
        raise MCPError(INVALID_PARAMS, "There is no such task.") from None


async def shown(caller: Caller, tree: dict[str, Any], *, core: bool) -> dict[str, Any]:
    """A task as its version has it."""
    outcome = ended(tree)
    wishes = [] if outcome is not None else await _wishes(caller, tree["id"])
    signals = {} if outcome is not None else await signals_of(caller, tree)
    state = None if outcome is None else outcome.state
    status = status_of(state, asks=bool(wishes or signals), core=core)
    error = None if core or outcome is None else service_error(outcome)
    if core:
        return core_task(tree, status, kept_ms(caller))
    made = extension_task(tree, FAILED if error else status, kept_ms(caller))
    if error:
        made["error"] = error
    elif wishes or signals:
        made["inputRequests"] = {wish["key"]: form_of(wish) for wish in wishes}
        made["inputRequests"] |= {key: one.form for key, one in signals.items()}
    elif outcome is not None and status == "completed":
        made["result"] = _dumped(result_of(tree["id"], tree.get("task") or "", outcome))
    return made


async def listed(caller: Caller, after: str | None) -> dict[str, Any]:
    """A page of tasks, the newest first."""
    check_may(caller, Permission.RUNS_READ)
    read, desk = caller.services.read, caller.services.desk
    page = await read(desk.runs, RunFilter(tenant=caller.who.tenant, limit=_PAGE, after=after))
    asking = {wish["run_id"] for wish in await read(desk.wishes, caller.who.tenant, _WISHES)}
    made = []
    for run in page.runs:
        state = run.state if run.finished_at is not None else None
        status = status_of(state, asks=run.id in asking, core=True)
        made.append(core_task(run.model_dump(mode="json"), status, kept_ms(caller)))
    return {"tasks": made, **({"nextCursor": page.more} if page.more else {})}


async def result(caller: Caller, tree: dict[str, Any], tell: Any) -> dict[str, Any]:
    """The result of a task, once its run has ended."""
    outcome = await end_of(caller, tree["id"], look=True, tell=tell)
    if outcome is None:
        made = _dumped(unfinished(tree["id"]))
    else:
        made = _dumped(result_of(tree["id"], tree.get("task") or "", outcome))
    made["_meta"] = {**made.get("_meta", {}), RELATED: {"taskId": tree["id"]}}
    return made


async def cancelled(caller: Caller, tree: dict[str, Any]) -> dict[str, Any]:
    """Cancel the run of a task; gives it as it is then.

    Raises:
        MCPError: it has ended.
    """
    check_may(caller, Permission.RUNS_CANCEL)
    if ended(tree) is not None:
        raise MCPError(INVALID_PARAMS, "The task has ended.")
    services, run_id = caller.services, tree["id"]
    await services.ask(caller.who, services.client.runs.cancel, run_id, tenant=tree["tenant"])
    until = time.monotonic() + _CANCELLED_S
    while time.monotonic() < until:
        tree = await task_of(caller, run_id)
        if ended(tree) is not None:
            break
        await asyncio.sleep(_LOOK_S)
    return tree


async def answered(caller: Caller, tree: dict[str, Any], told: dict[str, Any]) -> None:
    """Answer what a task waits for; a key that waits for nothing any more is left alone.

    Raises:
        ProblemError: it may not be answered, or that is no answer.
    """
    services = caller.services
    for key, signal in (await signals_of(caller, tree)).items():
        if key in told:
            await give_signal(caller, tree, key, signal, told[key])
    for wish in await _wishes(caller, tree["id"]):
        if (key := wish["key"]) not in told:
            continue
        needed = to_answer(caller.who, wish)
        check_may(caller, needed)
        if needed is Permission.RUNS_APPROVE:
            await check_run(services, caller.who, tree["id"])
        if wish["asks"] == CLIENT:
            await give(caller, tree["id"], wish, told[key])
        else:
            choice = choice_of(wish, told[key])
            await services.ask(
                caller.who, services.client.runs.approve, tree["id"], choice, key=key
            )


async def _wishes(caller: Caller, run_id: str) -> list[dict[str, Any]]:
    found = await caller.services.read(caller.services.desk.wishes_of, run_id)
    return [dict(wish) for wish in found]


def _dumped(made: types.CallToolResult) -> dict[str, Any]:
    return made.model_dump(by_alias=True, mode="json", exclude_none=True)
