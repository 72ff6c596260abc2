"""Toolsets around toolsets, each with one thing that it changes."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from agents.base import StepContext
from agents.timing import in_time
from agents.tools.base import Tool
from agents.tools.calls import ToolError, ToolSpec, too_late
from agents.tools.patterns import fits
from agents.tools.toolset import Toolset, checked
from celery_agents.agent import Effects
from celery_agents.contracts.base import JsonValue


@dataclass
class _Wrapper(Toolset):
    """All as the toolset inside has it."""

    inner: Toolset
    name: str = field(init=False)
    effects: Effects = field(init=False)

    def __post_init__(self) -> None:
        self.name = checked(self.inner).name
        self.effects = self.inner.effects

    async def specs(self, step: StepContext) -> Sequence[Tool | ToolSpec]:
        return await self.inner.specs(step)

    async def call(self, name: str, arguments: JsonValue, *, key: str, step: StepContext) -> Any:
        return await self.inner.call(name, arguments, key=key, step=step)

    def problem(self, name: str, arguments: JsonValue) -> str | None:
        return self.inner.problem(name, arguments)

    async def aclose(self) -> None:
        await self.inner.aclose()


@dataclass
class Prefixed(_Wrapper):
    """Another name for each tool, and for the toolset: ``prefix`` goes before it."""

    prefix: str

    def __post_init__(self) -> None:
        super().__post_init__()
        self.name = f"{self.prefix}{self.name}"

    async def specs(self, step: StepContext) -> Sequence[Tool | ToolSpec]:
        found = await super().specs(step)
        return [_named(spec, f"{self.prefix}{spec.name}") for spec in found]

    def problem(self, name: str, arguments: JsonValue) -> str | None:
        return super().problem(name.removeprefix(self.prefix), arguments)

    async def call(self, name: str, arguments: JsonValue, *, key: str, step: StepContext) -> Any:
        if not name.startswith(self.prefix):
            raise ToolError(f"There is no tool {name!r}.")
        bare = name.removeprefix(self.prefix)
        return await super().call(bare, arguments, key=key, step=step)


@dataclass
class Filtered(_Wrapper):
    """Some of the tools: those of a name in ``only``, which may have ``*``, and not in ``without``.

    Its effects are still those of all.
    """

    only: Sequence[str] = ("*",)
    without: Sequence[str] = ()

    async def specs(self, step: StepContext) -> Sequence[Tool | ToolSpec]:
        return [spec for spec in await super().specs(step) if self._has(spec.name)]

    async def call(self, name: str, arguments: JsonValue, *, key: str, step: StepContext) -> Any:
        if not self._has(name):
            raise ToolError(f"There is no tool {name!r}.")
        return await super().call(name, arguments, key=key, step=step)

    def _has(self, name: str) -> bool:
        return _in(name, self.only) and not _in(name, self.without)


@dataclass
class Limited(_Wrapper):
    """Calls that last longer than ``timeout_s`` have failed; the model is told so."""

    timeout_s: float

    async def call(self, name: str, arguments: JsonValue, *, key: str, step: StepContext) -> Any:
        act = super().call(name, arguments, key=key, step=step)
        return await in_time(self.timeout_s, act, lambda: ToolError(too_late(name, self.timeout_s)))


def _named(spec: Tool | ToolSpec, name: str) -> Tool | ToolSpec:
    if isinstance(spec, ToolSpec):
        return spec.model_copy(update={"name": name})
    named = copy(spec)
    named.name = name
    return named


def _in(name: str, patterns: Sequence[str]) -> bool:
    return fits(name, (patterns,) if isinstance(patterns, str) else patterns)
