"""Calls of tools: each is a run, which is accepted before anybody waits for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mcp import types
from mcp.shared.exceptions import MCPError
from pydantic import TypeAdapter, ValidationError

from api.bodies import TASKS, TaskBody
from api.mcp.answers import KEY
from api.mcp.callers import Caller, check_may
from api.mcp.offered import AgentArguments, CallableTool, PanelArguments, tool_of
from api.sending import id_of_key
from api.tasks import order_of, tenant_for
from app.access.permissions import Permission
from celery_agents.contracts.base import mistakes
from celery_agents.errors import InvalidPayloadError

_BODY: TypeAdapter[Any] = TypeAdapter(TaskBody)
_KEY_MAX = 255


@dataclass(frozen=True, slots=True)
class CalledRun:
    """The run of a call, which was accepted."""

    id: str
    task: str
    #: It was asked for before, under the same key.
    replayed: bool
    #: Nobody should wait for it in one request.
    as_task: bool = False
    #: It is a tool's, which may ask its client.
    of_tool: bool = False


async def begin(
    caller: Caller,
    name: str,
    arguments: dict[str, Any],
    meta: dict[str, Any],
    *,
    refusal: MCPError | None = None,
    asks: tuple[str, ...] = (),
    stream: bool = False,
) -> CalledRun:
    """Ask for the run of a call; with a key in its ``_meta`` the same key is the same run.

    ``refusal``: that of a call that nobody should wait for; None: it becomes a task. ``asks``: what
    a tool may ask the client. ``stream``: it tells what it does.

    Raises:
        MCPError: there is no such tool, or the key is none; or it takes too long to be waited for.
        InvalidPayloadError: the arguments are not right.
        ProblemError: it is not accepted.
    """
    check_may(caller, Permission.RUNS_CREATE)
    tool = await tool_of(caller, name)
    if tool is None:
        raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {name[:80]}")
    if tool.as_task and refusal is not None:
        raise refusal
    body = _body(tool, arguments, asks, caller.who.id)
    if stream and "stream" in type(body).model_fields:
        body = body.model_copy(update={"stream": True})
    run_id = _run_id(caller, meta)
    order = order_of(caller.services, caller.who, body, run_id)
    await caller.services.rates.take(caller.who, "runs", caller.who.runs_per_s)
    replayed = await caller.services.sending.send(order)
    return CalledRun(
        order.message.id, TASKS[body.task], replayed, tool.as_task, tool.spec is not None
    )


def _run_id(caller: Caller, meta: dict[str, Any]) -> str | None:
    key = meta.get(KEY)
    if key is None:
        return None
    if not isinstance(key, str) or not 0 < len(key) <= _KEY_MAX:
        raise MCPError(types.INVALID_PARAMS, f"_meta: {KEY} has to be a text of 1 to {_KEY_MAX}.")
    return id_of_key(tenant_for(caller.who, None), key, "mcp tools/call")


def _body(
    tool: CallableTool, arguments: dict[str, Any], asks: tuple[str, ...] = (), by: str = ""
) -> Any:
    """The run that is asked for."""
    model = tool.model
    if tool.spec is not None:
        wanted = {"tool": tool.spec["name"], "arguments": arguments}
        wanted |= {"asks": [*asks], "asked_by": by} if asks else {}
        return _BODY.validate_python({"task": "ask", "agent": model.name, "input": wanted})
    if model.flow is not None:
        return _valid(model.flow.body(arguments))
    contract = AgentArguments if model.panel is None else PanelArguments
    told = _valid(arguments, contract.model_validate).model_dump(exclude_none=True)
    if model.panel is None:
        return _valid({"task": "ask", "agent": model.name, **told})
    return _valid({"task": model.panel.task, **model.panel.options, **told})


def _valid(told: Any, validate: Callable[[Any], Any] = _BODY.validate_python) -> Any:
    try:
        return validate(told)
    except ValidationError as error:
        place, why = mistakes(error)[0]
        raise InvalidPayloadError(f"{place}: {why}") from None
