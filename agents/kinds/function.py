"""An agent that is a Python function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from agents.base import Answer, StepContext, Turn
from agents.caching.cacheable import Caching, meaning_of
from agents.governance.routing import Capability
from agents.invoke import invoke
from agents.net.sdks import sdk_failure
from agents.plain import plain_json
from agents.values import digest, shown
from celery_agents.agent import Effects
from celery_agents.contracts.outcome import FREE
from celery_agents.contracts.teams.spec import AgentSpec
from celery_agents.errors import (
    AgentFailedError,
    AgentsError,
    ConfigurationError,
)


class FunctionBackend:
    """A Python function, sync or async, that gets the input as its first argument.

    It is also given what it names among its parameters: ``step`` (the StepContext), ``choices``
    (a list or None), ``instructions``, ``messages`` (a list), ``schema``, ``team`` (the specs of
    those whom it may ask). It returns a JSON value, anything pydantic makes one of, or an Answer.
    Sync functions run in ``executor``.

    Args:
        function: the function.
        effects: one with an ``effect`` is called as a journaled call of its step, under whose key
            it is begun before it runs. Of others the step's own row says as much: that it began by
            its claim, and that it ended by its end.
        executor: threads for sync functions; the loop's default when not given.
        caching: how its answers are kept. One that is cached is a journaled call too.

    Raises:
        ConfigurationError: the function takes no argument, or needs one that it is not given.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        effects: Effects = "idempotent",
        executor: Executor | None = None,
        caching: Caching | None = None,
    ) -> None:
        self._caching = caching
        self._function = function
        self._effects = effects
        self._executor = executor
        self._name = str(getattr(function, "__name__", type(function).__name__))
        self._wanted = _wanted(function, self._name)

    @property
    def lacks(self) -> frozenset[Capability]:
        """A conversation, unless it is among its parameters."""
        return frozenset() if "messages" in self._wanted else frozenset({"messages"})

    @property
    def is_alone(self) -> bool:
        """True when it is not given its step, and no answer of it is kept."""
        return "step" not in self._wanted and self._caching is None

    def refusal(self, spec: AgentSpec) -> str | None:
        """Return why it cannot be narrowed like that: it names no parameter for what is given."""
        if spec.tools is not None:
            return "a function has no tools that could be chosen among"
        if (spec.instructions or spec.traits) and "instructions" not in self._wanted:
            return "its function has no parameter instructions"
        if spec.members and "team" not in self._wanted:
            return "its function has no parameter team, which gets its members"
        return None

    async def answer(self, turn: Turn, step: StepContext) -> Answer:
        """Call the function. Where it does not say what it cost, that is what its calls did.

        Raises:
            AgentsError: the function raised it.
            ProviderUnavailableError: a ConnectionError, TimeoutError or the like of the function.
            AgentFailedError: any other error, or a result that has no JSON form.
        """
        answer, spent = await self._answered(turn, step), step.spent
        if spent is FREE or spent == FREE or answer.usage != FREE:
            return answer
        return answer.model_copy(update={"usage": spent})

    async def aclose(self) -> None:
        """Nothing to free: the executor belongs to whoever passed it in."""

    async def _answered(self, turn: Turn, step: StepContext) -> Answer:
        if self._effects != "effect" and self._caching is None:
            return await self._call(turn, step)

        async def perform(_: str) -> Answer:
            return await self._call(turn, step)

        about = [self._name, turn]
        cache = None
        if (caching := self._caching) is not None:
            cache = caching.of([caching.name, *about], meaning=meaning_of(turn, self._name))
        return await step.call("function", perform, fingerprint=digest(about), cache=cache)

    async def _call(self, turn: Turn, step: StepContext) -> Answer:
        extras = self._extras(turn, step) if self._wanted else {}
        try:
            result = await invoke(self._function, turn.input, executor=self._executor, **extras)
        except AgentsError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a user's function raises becomes ours
            raise sdk_failure(self._name, error) from None
        return self._answer(result)

    def _extras(self, turn: Turn, step: StepContext) -> dict[str, Any]:
        """The extras that the function names among its parameters."""
        given = {
            "step": step,
            "choices": None if turn.choices is None else list(turn.choices),
            "instructions": turn.instructions,
            "messages": [message.compact() for message in turn.messages],
            "schema": turn.answer_schema,
            "team": turn.team,
        }
        return {name: given[name] for name in self._wanted}

    def _answer(self, result: Any) -> Answer:
        if isinstance(result, Answer):
            return result
        try:
            return Answer(value=plain_json(result))
        except ValueError as error:
            message = f"{self._name} returned what has no JSON form: {shown(error)}"
            raise AgentFailedError(message) from None


def _wanted(function: Callable[..., Any], name: str) -> tuple[str, ...]:
    """Name the extras that the function takes, beside its first parameter."""
    signature = inspect.signature(function)
    extras = ("step", "choices", "instructions", "messages", "schema", "team")
    _, *others = signature.parameters or {"": None}
    wanted = tuple(extra for extra in extras if extra in others)
    try:
        signature.bind("input", **dict.fromkeys(wanted))
    except TypeError as error:
        raise ConfigurationError(
            f"{name}{signature} cannot be an agent ({error}). It takes the input first, and may "
            f"name {', '.join(extras)}; other parameters need defaults."
        ) from None
    return wanted
