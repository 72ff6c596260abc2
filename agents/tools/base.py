"""Python functions as tools that a model may call."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_args, get_type_hints, overload

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import ArgsKwargs
from typing_extensions import Unpack

from agents.base import StepContext
from agents.invoke import called_here, invoke, is_async, threaded
from agents.tools.calls import ToolError, heard
from agents.tools.clients import CLIENT_ASKS, ask_client
from agents.tools.policy import Approve, ToolPolicy
from celery_agents.agent import Effects
from celery_agents.contracts.base import JsonValue, wrong_option
from celery_agents.errors import (
    ConfigurationError,
)

#: What calling does to the world, from nothing to something each time.
_BY_HARM: tuple[Effects, ...] = ("pure", "idempotent", "effect")
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # what all three providers take
#: Mistakes of a call's arguments that its model is told of, and those that are listed at all.
_MISTAKES_TOLD, _MISTAKES_READ = 10, 500
_PLAIN_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class CallContext:
    """The call in which a tool's function runs."""

    #: Its idempotency key, the same in each attempt: for whoever is asked to do something once.
    key: str
    #: The step in which its agent answers.
    step: StepContext

    @property
    def client_asks(self) -> tuple[str, ...]:
        """Those of ``elicitation``, ``sampling`` and ``roots`` that whoever called takes."""
        return CLIENT_ASKS.get()

    async def ask_client(
        self, key: str, method: str, params: Mapping[str, JsonValue] | None = None
    ) -> JsonValue:
        """Ask the program that called this tool, by MCP: ``elicitation/create`` and the like.

        It is told ``key`` and ``params``, and gives the protocol's result. The call waits without
        a worker, and its function runs from the start again with the answer; so the tool is
        ``pure`` or ``idempotent``. Several at once, by ``asyncio.gather``, are asked side by side.

        Raises:
            ClientLacksError: it has not said that it can be asked that.
            AgentFailedError: nobody answers any more.
        """
        return await ask_client(self.step, key, method, params)


class PolicyOptions(TypedDict, total=False):
    """The fields of :class:`ToolPolicy`, as options of the decorator."""

    effects: Effects
    timeout_s: float | None
    cache_s: float | None
    tries: int | None
    max_result_bytes: int
    untrusted: bool
    tells_trust: bool
    approve: Approve
    on_uncertain: Literal["tell", "fail"]


class Tool:
    """A typed Python function with what a model must know of it. Callable like the function.

    Args:
        function: sync or async; each parameter by name, with types that JSON can give. Its
            docstring tells the model what it is for.
        name: the function's own by default.
        policy: how it is called; undeclared, it counts as one with effects, the cautious kind.
        run_in_thread: of a function that is not async. False: it runs on the worker's loop, which
            takes a tenth of the time and holds up all other steps until it ends. Or a function
            that says so by the arguments of a call; its first call is in a thread.

    A parameter whose type is :class:`CallContext` is not the model's: it gets the key of the call.

    Raises:
        ConfigurationError: the signature has no JSON schema, or the name does not suit.
    """

    #: The parameter that gets the context of a call.
    _context: str | None = None

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        policy: ToolPolicy | None = None,
        run_in_thread: bool | Callable[[Mapping[str, Any]], bool] = True,
    ) -> None:
        if not inspect.isroutine(function):
            raise ConfigurationError(f"A tool is a Python function, not {function!r}")
        self.function = function
        self.policy = policy or ToolPolicy()
        self.name = name or function.__name__
        self._run_in_thread = run_in_thread
        self._warm = False  # it has been called, so that what it imports is there
        self._is_async = is_async(function)
        self.description = inspect.cleandoc(function.__doc__ or self.name)
        if not NAME.fullmatch(self.name):
            raise ConfigurationError(f"{self.name!r} is no name for a tool: use {NAME.pattern}")
        if run_in_thread is False and self.policy.timeout_s and not self._is_async:
            raise ConfigurationError(
                f"The tool {self.name!r} has timeout_s and run_in_thread=False: nothing can end a "
                "function that runs on the loop."
            )
        try:
            self._context = _context_of(function)
            if self._context is not None and self.policy.tries is None:
                # It may make calls of the step, which another try would make anew.
                self.policy = self.policy.model_copy(update={"tries": 1})
            self._check_parameters()
            adapter = _arguments_of(function, without=self._context)
            self._validate = adapter.validator.validate_python
            self.parameters: dict[str, JsonValue] = adapter.json_schema()
        except (PydanticUserError, NameError) as error:
            raise ConfigurationError(f"The tool {self.name!r} has no schema: {error}") from None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    @property
    def effects(self) -> Effects:
        """Its effects, of its policy."""
        return self.policy.effects

    async def call(
        self,
        arguments: JsonValue,
        *,
        context: CallContext | None = None,
        executor: Executor | None = None,
    ) -> JsonValue:
        """Call it with a model's arguments, validated; mostly a sync function runs in a thread.

        Raises:
            ToolError: wrong arguments, an error of the function, or a result without JSON form.
            RetryableError: the function raised it; the step is to be tried again.
        """
        act = self.prepared(arguments, context)
        if self._is_quick(act.keywords):
            return await heard(called_here(act))
        result = await heard(invoke(act) if self._is_async else threaded(act, executor))
        self._warm = True
        return result

    def prepared(
        self, arguments: JsonValue, context: CallContext | None = None
    ) -> functools.partial[Any]:
        """The call of its function with a model's arguments, validated, that is still to be made.

        Raises:
            ToolError: the arguments are wrong.
        """
        bound = self._bound(arguments)
        given = bound.kwargs or {}
        if self._context is not None:
            given = {**given, self._context: context}
        return functools.partial(self.function, *bound.args, **given)

    @property
    def takes_context(self) -> bool:
        """True when its calls are told their key and their step."""
        return self._context is not None or type(self).call is not Tool.call

    def problem(self, arguments: JsonValue) -> str | None:
        """Say what is wrong with a model's arguments, if anything is."""
        try:
            self._bound(arguments)
        except ToolError as error:
            return str(error)
        return None

    def runs_on_loop(self, arguments: JsonValue) -> bool:
        """Return whether a call with these arguments is made on the loop, as the tool is now."""
        return self._is_async or self._is_quick(self._bound(arguments).kwargs or {})

    def _is_quick(self, given: Mapping[str, Any]) -> bool:
        asked = self._run_in_thread
        if asked is True or self._is_async:
            return False
        return asked is False or (self._warm and not asked(given))

    def _bound(self, arguments: JsonValue) -> ArgsKwargs:
        if not isinstance(arguments, dict):
            raise ToolError("The arguments must be a JSON object.")
        try:
            found: ArgsKwargs = self._validate(ArgsKwargs((), arguments))
        except ValidationError as error:
            raise ToolError(_complaint(error)) from None
        return found

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
def tool(
    *, name: str | None = None, run_in_thread: bool = True, **policy: Unpack[PolicyOptions]
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    run_in_thread: bool = True,
    **policy: Unpack[PolicyOptions],
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Decorator, with or without options: declare a function as a tool, and how it is called.

    The options beside ``name`` and ``run_in_thread``, which are of :class:`Tool`, are the fields
    of :class:`ToolPolicy`.

    Raises:
        ConfigurationError: an option is wrong.
    """
    try:
        known = ToolPolicy(**policy)
    except ValidationError as error:
        names = {"name", "run_in_thread"}
        raise wrong_option("@tool", error, ToolPolicy, names=names) from None
    make = functools.partial(Tool, name=name, policy=known, run_in_thread=run_in_thread)
    return make if function is None else make(function)


def worst(effects: Iterable[Effects]) -> Effects:
    """The effects of who may do any of these; ``pure`` of who does nothing."""
    return max(effects, key=_BY_HARM.index, default="pure")


def _context_of(function: Callable[..., Any]) -> str | None:
    """Return the name of the parameter that gets the context of a call, if there is one."""
    hints = get_type_hints(function)
    return next(
        (name for name, kind in hints.items() if CallContext in {kind, *get_args(kind)}), None
    )


def _arguments_of(
    function: Callable[..., Any], *, without: str | None = None
) -> TypeAdapter[ArgsKwargs]:
    """Validates arguments by the function's signature, without calling it: it runs elsewhere."""

    @functools.wraps(function)
    def capture(*args: Any, **kwargs: Any) -> ArgsKwargs:
        return ArgsKwargs(args, kwargs)

    if without is not None:
        signature = inspect.signature(function)
        asked = [p for p in signature.parameters.values() if p.name != without]
        capture.__signature__ = signature.replace(parameters=asked)  # type: ignore[attr-defined]
        capture.__annotations__ = {
            name: kind
            for name, kind in get_type_hints(function, include_extras=True).items()
            if name != without
        }
    kind: Any = capture  # pydantic takes functions; the type says types
    return TypeAdapter(kind)


def _complaint(error: ValidationError) -> str:
    """Tell of the first mistakes. Where there are very many, to list them would take long."""
    count = error.error_count()
    if count > _MISTAKES_READ:
        return f"Wrong arguments. They do not fit the schema in {count:,} places."
    lines = [
        f"{'.'.join(str(part) for part in item['loc'])[:200] or 'arguments'}: {item['msg']}"
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    more = "" if count <= _MISTAKES_TOLD else f"; and {count - _MISTAKES_TOLD:,} more"
    return f"Wrong arguments. {'; '.join(lines[:_MISTAKES_TOLD])}{more}"
