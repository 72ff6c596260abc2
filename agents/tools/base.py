"""Python functions as tools that a model may call."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import Any, overload

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import ArgsKwargs

from agents.invoke import invoke
from agents.tools.calls import ToolError, heard
from celery_agents.agent import Effects
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import (
    ConfigurationError,
)

#: What calling does to the world, from nothing to something each time.
_BY_HARM: tuple[Effects, ...] = ("pure", "idempotent", "effect")
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # what all three providers take
_PLAIN_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Tool:
    """A typed Python function with what a model must know of it. Callable like the function.

    Args:
        function: sync or async; each parameter by name, with types that JSON can give. Its
            docstring tells the model what it is for.
        effects: undeclared, it counts as ``effect``, the cautious kind.
        name: the function's own by default.

    Raises:
        ConfigurationError: the signature has no JSON schema, or the name does not suit.
    """

    def __init__(
        self, function: Callable[..., Any], *, effects: Effects = "effect", name: str | None = None
    ) -> None:
        if not inspect.isroutine(function):
            raise ConfigurationError(f"A tool is a Python function, not {function!r}")
        self.function = function
        self.effects = effects
        self.name = name or function.__name__
        self.description = inspect.cleandoc(function.__doc__ or self.name)
        if not NAME.fullmatch(self.name):
            raise ConfigurationError(f"{self.name!r} is no name for a tool: use {NAME.pattern}")
        self._check_parameters()
        try:
            self._adapter = _arguments_of(function)
            self.parameters: dict[str, JsonValue] = self._adapter.json_schema()
        except (PydanticUserError, NameError) as error:
            raise ConfigurationError(f"The tool {self.name!r} has no schema: {error}") from None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    async def call(self, arguments: JsonValue, *, executor: Executor | None = None) -> JsonValue:
        """Call it with a model's arguments, validated; a sync function runs in a thread.

        Raises:
            ToolError: wrong arguments, an error of the function, or a result without JSON form.
            RetryableError: the function raised it; the step is to be tried again.
        """
        if not isinstance(arguments, dict):
            raise ToolError("The arguments must be a JSON object.")
        try:
            bound = self._adapter.validate_python(ArgsKwargs((), arguments))
        except ValidationError as error:
            raise ToolError(_complaint(error)) from None
        return await heard(
            invoke(self.function, *bound.args, executor=executor, **(bound.kwargs or {}))
        )

    def _check_parameters(self) -> None:
        for parameter in inspect.signature(self.function).parameters.values():
            if parameter.kind not in _PLAIN_KINDS:
                raise ConfigurationError(
                    f"The tool {self.name!r} has the parameter {parameter}; "
                    "a model can only give arguments by name."
                )


@overload
def tool(function: Callable[..., Any]) -> Tool: ...
@overload
def tool(*, effects: Effects = "effect", name: str | None = None) -> Callable[..., Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    *,
    effects: Effects = "effect",
    name: str | None = None,
) -> Tool | Callable[..., Tool]:
    """Decorator, with or without options: declare a function as a tool, with its effects."""
    make = functools.partial(Tool, effects=effects, name=name)
    return make if function is None else make(function)


def worst(effects: Iterable[Effects]) -> Effects:
    """The effects of who may do any of these; ``pure`` of who does nothing."""
    return max(effects, key=_BY_HARM.index, default="pure")


def _arguments_of(function: Callable[..., Any]) -> TypeAdapter[ArgsKwargs]:
    """Validates arguments by the function's signature, without calling it: it runs elsewhere."""

    @functools.wraps(function)
    def capture(*args: Any, **kwargs: Any) -> ArgsKwargs:
        return ArgsKwargs(args, kwargs)

    kind: Any = capture  # pydantic takes functions; the type says types
    return TypeAdapter(kind)


def _complaint(error: ValidationError) -> str:
    lines = [
        f"{'.'.join(str(part) for part in item['loc']) or 'arguments'}: {item['msg']}"
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return "Wrong arguments. " + "; ".join(lines)
