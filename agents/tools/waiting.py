"""Calls that wait for a time: each is a member of its step that no worker takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from agents.base import StepContext
from agents.plan import Expand, JoinPolicy, Member
from agents.tools.calls import ToolCall, ToolResult, WaitsUntilError
from celery_agents import names

#: Seconds that a join waits at the least.
_LEAST_S = 0.05


class WaitsError(Exception):
    """A step is to wait for these members first; for some no longer than ``timeout_s``."""

    def __init__(self, members: Sequence[Member], timeout_s: float | None = None) -> None:
        super().__init__("waits")
        self.members, self.timeout_s = tuple(members), timeout_s


class CallTimes:
    """The times that calls of one batch wait for."""

    def __init__(self, step: StepContext) -> None:
        self._step = step
        self._until = 0.0
        self.members: list[Member] = []

    async def over(self, call: ToolCall, identity: str, wait: WaitsUntilError) -> ToolResult | None:
        """The result of a call that waits, once its time has come; until then there is none.

        Its step has waited when its member has ended, whatever the clock of this machine says.
        """
        key = f"~{identity}"
        if key in await self._step.answered():
            return ToolResult(call=call, value=wait.told)
        told = {"tool": call.name, "until": datetime.fromtimestamp(wait.until, UTC).isoformat()}
        self.members.append(Member(key=key, task=names.WAIT, input=told, options={}, waits=True))
        self._until = max(self._until, wait.until)
        return None

    @property
    def timeout_s(self) -> float | None:
        """How long the step waits for all of them."""
        return max(self._until - time.time(), _LEAST_S) if self.members else None


def until(members: Sequence[Member], timeout_s: float | None) -> Expand:
    """The plan of a step that waits for these."""
    return Expand(members=tuple(members), join=JoinPolicy(timeout_s=timeout_s))


def merged(waits: Sequence[WaitsError]) -> WaitsError:
    """One for all of them. What has no end by time comes first: a time would end it, too."""
    endless = [one for one in waits if one.timeout_s is None]
    timed = [one.timeout_s for one in waits if one.timeout_s is not None]
    members = [member for one in endless or waits for member in one.members]
    return WaitsError(members, None if endless else max(timed))
