"""Calls of a model that sees marks in place of some texts: tools get the texts themselves."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol, TypeGuard, runtime_checkable

from agents.base import StepContext
from agents.tools.calls import ToolCall, ToolResult
from celery_agents.contracts.base import JsonValue


@runtime_checkable
class Screened(Protocol):
    """A step whose model sees marks in place of some texts."""

    def meant(self, arguments: JsonValue) -> JsonValue:
        """Return arguments of a tool with what the model's marks stand for."""
        ...

    async def seen(self, result: JsonValue, *, but_own: bool = False) -> JsonValue:
        """Return a result as the model may see it; ``but_own``: it may say marks of this turn."""
        ...

    def spoken(self) -> None:
        """End a part of which all was said; what may go on in the next one is told with that."""
        ...


class Sight:
    """Calls as they are meant and results as they are seen; of most steps both stay as they are."""

    def __init__(self, step: StepContext) -> None:
        self._step = step if _screens(step) else None

    @property
    def screens(self) -> bool:
        """True where its model sees marks in place of some texts."""
        return self._step is not None

    def spoken(self) -> None:
        """Have told what was said up to now: a model says no more beside its calls."""
        if self._step is not None:
            self._step.spoken()

    def meant(self, call: ToolCall) -> ToolCall:
        """Return a call with the texts that its model's marks stand for."""
        if self._step is None:
            return call
        return call.model_copy(update={"arguments": self._step.meant(call.arguments)})

    async def seen(self, value: JsonValue, *, but_own: bool = False) -> JsonValue:
        """Return a result as the model may see it; ``but_own``: it may say marks of this turn."""
        return value if self._step is None else await self._step.seen(value, but_own=but_own)

    async def told(
        self, result: ToolResult, wished: ToolCall, meant: ToolCall, made: ToolCall
    ) -> ToolResult:
        """Answer the call that a model wrote, with arguments that a person has changed."""
        value = result.value
        if made is not meant and made.arguments != meant.arguments:
            called_with = await self.seen(made.arguments)
            value = {"called_with": called_with, "by": "a person's decision", "result": value}
        if result.call is wished and value is result.value:
            return result
        return result.model_copy(update={"call": wished, "value": value})


def _screens(step: StepContext) -> TypeGuard[Screened]:
    return _is_screened(type(step))


@lru_cache(64)
def _is_screened(kind: type) -> bool:
    """Return whether steps of a kind are such. Of each step it would take a third of a call."""
    return issubclass(kind, Screened)
