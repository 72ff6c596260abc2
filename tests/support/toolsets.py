"""Toolsets of the tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from agents.tools.calls import WaitsUntilError
from celery_agents import StepContext, Tool, ToolError, Toolset, ToolSpec, tool
from celery_agents.agent import Effects
from celery_agents.contracts.base import JsonValue


@tool(effects="pure")
def find(number: int) -> dict[str, int]:
    """Finds an order."""
    return {"number": number}


@tool(effects="pure")
def fail(text: str) -> str:
    """Fails."""
    raise ValueError(text)


@tool
def charge(amount: int) -> str:
    """Charges a card."""
    return f"charged {amount}"


@tool(effects="pure")
def later(seconds: float) -> str:
    """Waits so long."""
    raise WaitsUntilError(time.time() + seconds, "it is time")


def spec(name: Any, **fields: Any) -> Any:
    return ToolSpec.model_construct(**{"name": name, "description": "", "parameters": {}} | fields)


class Shelf(Toolset):
    """Lists what it is given, once each time; calls are answered, raised or counted."""

    def __init__(
        self,
        *lists: Any,
        name: str = "shelf",
        effects: Effects = "pure",
        answer: Any = "done",
    ) -> None:
        self.name = name
        self.effects = effects
        self.lists = list(lists)
        self.answer = answer
        self.listed = 0
        self.called: list[tuple[str, JsonValue, str, str]] = []
        self.closed = 0

    async def specs(self, step: StepContext) -> Sequence[Tool | ToolSpec]:
        self.listed += 1
        found: Any = self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]
        return await _given(found)  # type: ignore[no-any-return]

    async def call(self, name: str, arguments: JsonValue, *, key: str, step: StepContext) -> Any:
        self.called.append((name, arguments, key, step.step_id))
        return await _given(self.answer)

    async def aclose(self) -> None:
        self.closed += 1
        await _given(self.answer)


async def _given(what: Any) -> Any:
    if isinstance(what, BaseException):
        raise what
    if what is ...:
        await asyncio.sleep(3600)
    return what


class Desk(Toolset):
    """As users write one."""

    name = "desk"
    effects = "pure"

    async def specs(self, step: StepContext) -> Sequence[Tool]:
        return [find, fail]

    async def call(self, name: str, arguments: JsonValue, *, key: str, step: StepContext) -> Any:
        if name == "fail":
            raise ToolError("No such order, " + "pass" + "word=hunter2")
        return await find.call(arguments)


desk = Desk()
charging = Shelf([charge], name="charging", effects="effect")
empty = Shelf([], name="empty")
other_desk = Shelf([find], name="desk")
NUMBER = 7


class Nameless(Desk):
    name = ""


class Careless(Desk):
    effects = "none"  # type: ignore[assignment]


class Sync(Desk):
    def call(self, *_: Any, **__: Any) -> Any:
        return 1


class Lacking:
    name = "lacking"

    async def call(self, *_: Any, **__: Any) -> Any: ...


nameless, careless, sync, lacking = Nameless(), Careless(), Sync(), Lacking()
