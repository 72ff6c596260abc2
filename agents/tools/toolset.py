"""A named source of tools, and the one of plain functions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Protocol, get_args

from agents.base import StepContext
from agents.invoke import is_async
from agents.tools.base import CallContext, Tool, worst
from agents.tools.calls import ToolError, ToolSpec
from celery_agents.agent import Effects
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import ConfigurationError


class Toolset(Protocol):
    """A named source of tools, which may be known only when they are listed.

    An instance stands in the ``tools`` of an agent, where a function may. It serves all steps of a
    process at once, on the worker's loop.
    """

    #: What errors call it; no two toolsets of one agent have one name.
    name: str
    #: The worst that any tool may do that it may ever list.
    effects: Effects

    @abstractmethod
    async def specs(self, step: StepContext) -> Sequence[Tool | ToolSpec]:
        """The tools that there are for this step, listed once and journaled.

        A later attempt goes on with what an earlier one was told, so that its conversation is the
        same. ``step.call`` is not for this place, nor for that of ``call``: both are journaled.
        """
        ...

    @abstractmethod
    async def call(self, name: str, arguments: JsonValue, *, key: str, step: StepContext) -> Any:
        """Call a tool with a model's arguments, as it wrote them; the result has a JSON form.

        ``key`` is the idempotency key of the call, the same in each attempt. The model is told of
        an error, of a ``ToolError`` its bare text; a ``RetryableError`` ends the attempt.
        """
        ...

    def problem(self, name: str, arguments: JsonValue) -> str | None:  # noqa: ARG002 - for subclasses
        """Say what is wrong with the arguments of a call, beyond the tool's schema, if anything is.

        It is asked before a person is, who sees no call that could not be made.
        """
        return None

    async def aclose(self) -> None:
        """Free what it holds: when the worker stops, for each agent that has it."""
        return


class FunctionToolset(Toolset):
    """Python functions as a toolset, for what goes around one.

    Args:
        name: of the toolset.
        functions: tools, or plain functions, which become tools with ``effect``.
        executor: where those run that are not async; the loop's default when not given.

    Raises:
        ConfigurationError: a function cannot be a tool, or two have one name.
    """

    #: Whether a model is told of them, however many tools it has.
    always_shown = False

    def __init__(
        self, name: str, *functions: Tool | Callable[..., Any], executor: Executor | None = None
    ) -> None:
        self.name = name
        self.tools = tuple(f if isinstance(f, Tool) else Tool(f) for f in functions)
        self.effects = worst(tool.effects for tool in self.tools)
        self._by_name = {tool.name: tool for tool in self.tools}
        self._executor = executor
        if len(self._by_name) < len(self.tools):
            raise ConfigurationError(f"Two tools of the toolset {name!r} have one name.")

    async def specs(self, step: StepContext) -> Sequence[Tool]:  # noqa: ARG002 - the same for all
        return self.tools

    def problem(self, name: str, arguments: JsonValue) -> str | None:
        tool = self._by_name.get(name)
        return None if tool is None else tool.problem(arguments)

    def needs_key(self, name: str) -> bool:
        """Return whether calls of the tool of that name are told their key."""
        tool = self._by_name.get(name)
        return tool is None or tool.takes_context

    async def call(self, name: str, arguments: JsonValue, *, key: str, step: StepContext) -> Any:
        if (tool := self._by_name.get(name)) is None:
            raise ToolError(f"There is no tool {name!r}.")
        context = CallContext(key, step) if tool.takes_context else None
        return await tool.call(arguments, context=context, executor=self._executor)


class FixedToolset(FunctionToolset):
    """Functions that are the same for all steps of a process, and so need not be listed."""


def checked(found: Any) -> Toolset:
    """The same, if it is a toolset.

    Raises:
        ConfigurationError: it says what is missing.
    """
    who = f"{type(found).__name__} is no Toolset"
    if isinstance(found, type):
        raise ConfigurationError(f"{found.__name__} is a class; a toolset is an instance of one.")
    acts = ("specs", "call", "aclose")
    parts = ("name", "effects", "problem", *acts)
    missing = [name for name in parts if not hasattr(found, name)]
    if missing:
        raise ConfigurationError(f"{who}: it has no {', no '.join(missing)}.")
    if not isinstance(found.name, str) or not found.name:
        raise ConfigurationError(f"{who}: its name is no text.")
    if found.effects not in get_args(Effects):
        raise ConfigurationError(f"{who}: its effects are none of {', '.join(get_args(Effects))}.")
    for name in acts:
        if not is_async(getattr(found, name)):
            raise ConfigurationError(f"{who}: its {name} is no coroutine function (async def).")
    return found  # type: ignore[no-any-return]  # looked at above
