"""One call of a tool, tried as often as its policy says, each within its time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, runtime_checkable

from agents.base import StepContext
from agents.invoke import invoke
from agents.timing import in_time
from agents.tools.calls import (
    ToolCall,
    ToolError,
    ToolFailedError,
    ToolResult,
    WaitsUntilError,
    heard,
    too_late,
)
from agents.tools.offered import OfferedTool
from agents.tools.toolset import FunctionToolset
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import RetryableError

#: Seconds before the second try of a call, doubled before each further one.
_PAUSE_S = 0.1


@runtime_checkable
class _Stopping(Protocol):
    """A step that can be asked to stop."""

    @property
    def asked_to_stop(self) -> bool:
        """True when nobody waits for it."""
        ...


async def tried(step: StepContext, tool: OfferedTool, call: ToolCall, key: str) -> ToolResult:
    """Try a call as often as its policy says; the model hears of the last failure."""
    tries = tool.policy.tries_max
    for left in reversed(range(tries)):
        try:
            return ToolResult(call=call, value=await _value(step, tool, call, key))
        except (ToolFailedError, RetryableError) as error:
            if not left:
                if isinstance(error, RetryableError):
                    raise
                return ToolResult(call=call, value=str(error), failed=True)
            await asyncio.sleep(_PAUSE_S * 2 ** (tries - 1 - left))
        except WaitsUntilError:
            raise
        except ToolError as error:  # trying again would change nothing
            return ToolResult(call=call, value=str(error), failed=True)
    raise AssertionError("a policy has at least one try")


async def _value(step: StepContext, tool: OfferedTool, call: ToolCall, key: str) -> JsonValue:
    home, limit_s = tool.home, tool.policy.timeout_s
    act: Coroutine[Any, Any, JsonValue]
    if type(home).call is FunctionToolset.call:  # what that gives can be told as it is
        act = home.call(call.name, call.arguments, key=key, step=step)
    else:
        act = heard(invoke(home.call, call.name, call.arguments, key=key, step=step))
    try:
        if limit_s is None:
            return await act
        late = lambda: ToolFailedError(too_late(call.name, limit_s))  # noqa: E731
        return await in_time(limit_s, act, late)
    except asyncio.CancelledError:
        if _stops(step):
            raise
        raise ToolFailedError(f"{call.name} cancelled itself.") from None


def _stops(step: StepContext) -> bool:
    """Return whether a cancellation is the step's, and not of a tool's own making."""
    task = asyncio.current_task()
    cancelled = task is not None and task.cancelling() > 0
    return cancelled or (isinstance(step, _Stopping) and step.asked_to_stop)
