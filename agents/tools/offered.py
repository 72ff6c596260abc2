"""The tools of one answer: what its model is told of them, and the calls that it makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from agents.base import Answer, StepContext
from agents.invoke import invoke
from agents.plain import plain_json
from agents.tools.base import NAME, Tool, worst
from agents.tools.calls import ToolCall, ToolError, ToolResult, ToolSpec, heard
from agents.tools.toolset import Toolset
from agents.values import digest, shown
from celery_agents.errors import AnswerTooLargeError, ConfigurationError
from celery_agents.values import mended


@dataclass(frozen=True, slots=True)
class Offered:
    """The tools of one answer."""

    specs: tuple[ToolSpec, ...]
    homes: Mapping[str, Toolset]

    @classmethod
    def of(cls, found: Iterable[tuple[Toolset, Iterable[ToolSpec]]]) -> Self:
        """The tools of several toolsets.

        Raises:
            ConfigurationError: two have one name.
        """
        homes: dict[str, Toolset] = {}
        told: list[ToolSpec] = []
        for toolset, specs in found:
            for spec in specs:
                if (other := homes.get(spec.name)) is not None:
                    raise ConfigurationError(
                        f"Two tools are named {spec.name!r}: one of {other.name!r}, one of "
                        f"{toolset.name!r}. Put Prefixed(…) or Filtered(…) around a toolset."
                    )
                homes[spec.name] = toolset
                told.append(spec)
        return cls(tuple(told), homes)

    async def use(self, call: ToolCall, step: StepContext) -> ToolResult:
        """Run one tool, journaled. The model is told of an error; only retryable ones pass."""
        if (home := self.homes.get(call.name)) is None:
            return ToolResult(call=call, value=f"There is no tool {call.name!r}.", failed=True)

        async def perform(key: str) -> Answer:
            act = invoke(home.call, call.name, call.arguments, key=key, step=step)
            try:
                result = ToolResult(call=call, value=await heard(act))
            except ToolError as error:
                result = ToolResult(call=call, value=str(error), failed=True)
            return Answer(value=result.model_dump(mode="json"))

        fingerprint = digest([call.name, call.arguments])
        try:
            answer = await step.call(f"tool:{call.name}", perform, fingerprint=fingerprint)
        except AnswerTooLargeError as error:
            return ToolResult(call=call, value=error.message, failed=True)
        # A journaled result belongs to this call too, whatever id its call had.
        return ToolResult.model_validate(answer.value).model_copy(update={"call": call})


def spec_of(toolset: Toolset, tool: Tool | ToolSpec) -> ToolSpec:
    """A tool as a model is told of it.

    Raises:
        ConfigurationError: it is none, has a name that no provider takes, or more effects than its
            toolset says.
    """
    try:
        spec = ToolSpec(
            name=tool.name,
            description=mended(tool.description),
            parameters=mended(plain_json(tool.parameters)),
        )
    except (AttributeError, ValueError, TypeError):
        message = f"The toolset {toolset.name!r} lists what is no tool: {shown(tool)}."
        raise ConfigurationError(message) from None
    if not NAME.fullmatch(spec.name):
        raise ConfigurationError(
            f"The toolset {toolset.name!r} lists {shown(spec.name)}, which is no name for a tool: "
            f"use {NAME.pattern}"
        )
    if isinstance(tool, Tool) and worst((tool.effects, toolset.effects)) != toolset.effects:
        raise ConfigurationError(
            f"The toolset {toolset.name!r} lists {spec.name!r}, whose effects are "
            f"{tool.effects!r}, and says that its own are {toolset.effects!r}."
        )
    return spec
