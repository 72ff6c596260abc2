"""A reply that is one call of a plain function without effects, as most replies with calls are.

Nobody approves of it, nothing is journaled, no agent is asked and no program runs: what decides
about these for a reply of several calls, in :mod:`agents.tools.making`, has nothing to decide here.
"""

from __future__ import annotations

from agents.base import StepContext
from agents.plan import Expand
from agents.tools.calls import AskedCall, ToolCall, ToolResult, WaitsUntilError
from agents.tools.making import key_of_pure
from agents.tools.offered import OfferedTool
from agents.tools.trying import tried
from agents.tools.waiting import CallTimes, until


async def made_alone(
    step: StepContext, tool: OfferedTool, call: ToolCall, asked: AskedCall
) -> ToolResult | Expand:
    """Make it; the same key, events and waits as among others."""
    key = key_of_pure(step.step_id, asked.digest) if tool.needs_key else ""
    step.tell("tool", call_id=call.id, name=call.name, arguments=call.arguments)
    try:
        made = await tried(step, tool, call, key)
    except WaitsUntilError as wait:
        times = CallTimes(step)
        over = await times.over(call, asked.identity, wait)
        if over is None:
            return until(times.members, times.timeout_s)
        made = over
    step.tell("tool_result", call_id=call.id, name=call.name, failed=made.failed)
    return made
