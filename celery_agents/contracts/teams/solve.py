"""Solving: which way of asking serves a kind of task is learned, or an agent says it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from celery_agents.contracts.ask import Ask, StepOptions
from celery_agents.contracts.base import Contract, Name, TrustedJson, Whole, mistakes, read_as
from celery_agents.contracts.exact import unique_keys
from celery_agents.contracts.fallback import Adaptive
from celery_agents.contracts.gather import Gather
from celery_agents.contracts.outcome import Usage
from celery_agents.contracts.patterns import Fallback, Pattern, Vote

#: Of one request.
STRATEGIES_MAX = 20
StrategyVerb = Literal["ask", "fallback", "vote", "gather"]
#: The payload of each verb.
PAYLOADS: Mapping[str, type[StepOptions]] = {
    "ask": Ask,
    "fallback": Fallback,
    "vote": Vote,
    "gather": Gather,
}
#: Options that are of a run, and of no step of one.
_OF_RUN = ("session", "webhook", "input")
#: Characters of a name that is made of the agents'.
_NAME_MAX = 100


class Strategy(Contract):
    """A way to have the task done: a verb with its options.

    An agent's name, or an ``Ask``, ``Fallback``, ``Vote`` or ``Gather``, is one too. Without a
    ``name`` it has that of the agent, or of the verb and its agents: ``vote(a, b, c)``.
    """

    verb: StrategyVerb
    options: dict[str, TrustedJson]
    name: Name = ""

    @model_validator(mode="before")
    @classmethod
    def _of(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"verb": "ask", "options": {"agent": value}}
        elif isinstance(value, StepOptions):
            value = {"options": value}
        if isinstance(value, dict) and isinstance(asked := value.get("options"), StepOptions):
            value = {"verb": _verb_of(asked), **value, "options": asked.message_options()}
        verb = value.get("verb") if isinstance(value, dict) else None
        if not isinstance(verb, str) or verb not in PAYLOADS:
            return value
        request = _read(value["verb"], value.get("options"))
        name = value.get("name") or _name(value["verb"], request)
        return {**value, "options": request.message_options(), "name": name}

    @property
    def request(self) -> StepOptions:
        """The payload that it asks with, without the input."""
        return PAYLOADS[self.verb].model_validate(self.options)


def _verb_of(request: StepOptions) -> str:
    for verb, payload in PAYLOADS.items():
        if type(request) is payload:
            return verb
    raise ValueError(f"a {type(request).__name__} is no strategy")


def _read(verb: str, options: Any) -> StepOptions:
    if not isinstance(options, dict):
        raise ValueError("options: Input should be a valid dictionary")  # noqa: TRY004 - pydantic's way
    if of_run := [name for name in _OF_RUN if name in options]:
        raise ValueError(f"options.{of_run[0]}: it is of the run, and no strategy has its own")
    try:
        return PAYLOADS[verb].model_validate(options)
    except ValidationError as error:
        place, why = mistakes(error, PAYLOADS[verb])[0]
        raise ValueError(f"options.{place}: {why}") from None


def _name(verb: str, request: StepOptions) -> str:
    if isinstance(request, Ask):
        return request.agent
    found: Any = next(
        getattr(request, field)
        for field in ("candidates", "voters", "agents")
        if hasattr(request, field)
    )
    who = ", ".join(one.key for one in found)
    if len(who) > _NAME_MAX:
        digest = hashlib.sha256(who.encode()).hexdigest()[:8]
        who = f"{who[:_NAME_MAX]}… {digest}"
    return f"{verb}({who})"


class Solve(Pattern):
    """Have a task done by one of several strategies; by another one where that fails.

    Which is tried first is drawn by what was learned of them in this sort of ``work``
    (``adaptive`` says by what they are judged), or said by the agent ``select``, which gets the
    task and their names as ``choices``. At most ``tries`` are tried. ``timeout_s`` is of all.
    """

    strategies: Annotated[tuple[Strategy, ...], Field(min_length=1, max_length=STRATEGIES_MAX)]
    #: Names the sort of work: what is learned about the strategies is kept apart by it.
    work: Name = "any"
    select: Name | None = None
    tries: Annotated[int, Field(ge=1, le=STRATEGIES_MAX), Whole] | None = None
    adaptive: Adaptive = Adaptive()
    seed: Annotated[str, Field(max_length=200)] = ""

    @property
    def ballots(self) -> int:
        """The most turns of agents that the strategies which may be tried ask for."""
        most = sorted((s.request.ballots for s in self.strategies), reverse=True)
        return sum(most[: self.tries]) + (self.select is not None)

    @field_validator("strategies")
    @classmethod
    def _unique(cls, strategies: tuple[Strategy, ...]) -> tuple[Strategy, ...]:
        keys = unique_keys(one.name for one in strategies)
        return tuple(
            one if one.name == key else one.model_copy(update={"name": key})
            for one, key in zip(strategies, keys, strict=True)
        )


def score_of(value: object) -> float:
    """The worth of an answer, from 0 to 1.

    Raises:
        InvalidPayloadError: it is none.
    """
    return read_as(_SCORE, value, "score")


_SCORE: TypeAdapter[float] = TypeAdapter(Annotated[float, Field(ge=0, le=1, strict=True)])


class FailedStrategy(Contract):
    """A strategy that was tried and did not succeed, with the kind and the text of its error."""

    strategy: str
    kind: str
    message: str


class Solution(Contract):
    """The answer to a task: its value is as the verb of the strategy has it."""

    value: TrustedJson
    strategy: str
    #: True where the agent that selects chose it.
    selected: bool = False
    failed: tuple[FailedStrategy, ...] = ()
    usage: Usage = Usage()


class StrategyRecord(Contract):
    """The record of one strategy, or of one candidate of an adaptive chain.

    ``attempts`` are those that are remembered: old ones count less. ``reward`` is their mean.
    """

    name: str
    attempts: float
    reward: float
    median_s: float | None = None


class WorkLessons(Contract):
    """The lessons for one sort of work; the best strategies are first."""

    verb: Literal["solve", "fallback"]
    work: str
    requests: int
    changed_at: float
    records: tuple[StrategyRecord, ...] = ()
