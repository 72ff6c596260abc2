"""A fallback chain: who may answer instead of whom, and in which order they are tried."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from celery_agents.contracts.base import Contract, JsonValue, Name, Seconds, Whole, also
from celery_agents.contracts.compensation import Compensated
from celery_agents.contracts.exact import PositiveWeight, unique_keys

#: Of one chain.
CANDIDATES_MAX = 100
Strategy = Literal["sequential", "parallel", "weighted", "adaptive", "hedged"]


class Candidate(Contract):
    """One agent that may answer. A plain string is an agent with the defaults.

    Lower ``priority`` comes first. ``on`` names the error kinds after which it may be tried
    (:mod:`celery_agents.errors`); empty means all, and the start of the chain too.
    """

    agent: Name
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000), Whole] = 0
    weight: PositiveWeight = Fraction(1)
    timeout_s: Seconds | None = None
    on: tuple[Name, ...] = ()
    name: Name | None = None
    compensation: Compensated = None

    @model_validator(mode="before")
    @classmethod
    def _agent_alone(cls, value: Any) -> Any:
        return {"agent": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return also(core_schema, handler, Name)

    @property
    def key(self) -> str:
        """The name under which its attempt and its statistics are kept."""
        return self.name or self.agent


class Default(Contract):
    """The value that a wholly failed chain answers with; it may be null."""

    value: JsonValue


class Hedge(Contract):
    """When the next candidate starts beside a slow one.

    It starts when the current one has taken longer than the ``quantile`` of its recent
    latencies, while hedges are at most ``share`` of all requests (J. Dean, L. A. Barroso, "The
    Tail at Scale", CACM 56(2), 2013). ``delay_s`` serves until ``min_samples`` latencies are
    known; ``half_life`` says after how many latencies one counts half. A share below
    0.7 / ``half_life`` allows no hedge at all.
    """

    quantile: Annotated[float, Field(gt=0, lt=1, strict=True)] = 0.95
    share: Annotated[float, Field(ge=0, le=1, strict=True)] = 0.1
    delay_s: Seconds = 10.0
    min_samples: Annotated[int, Field(ge=1, le=10_000), Whole] = 20
    half_life: Annotated[float, Field(ge=10, le=100_000, strict=True)] = 200.0


class Adaptive(Contract):
    """How candidates are learned about: a reward from 0 to 1 for each attempt.

    ``success``, ``latency`` and ``cost`` are the weights of the three in the reward; latency and
    cost score one half at ``latency_scale_s`` and ``cost_scale_usd``. A candidate that changes is
    noticed, and what was known of it forgotten; ``half_life`` says after how many requests of the
    chain an attempt counts half where nothing seems to change.
    """

    half_life: Annotated[float, Field(ge=1, le=100_000, strict=True)] = 1000.0
    success: Annotated[float, Field(gt=0, le=1000, strict=True)] = 0.8
    latency: Annotated[float, Field(ge=0, le=1000, strict=True)] = 0.1
    cost: Annotated[float, Field(ge=0, le=1000, strict=True)] = 0.1
    latency_scale_s: Seconds = 5.0
    cost_scale_usd: Annotated[float, Field(gt=0, le=1000, strict=True)] = 0.01


class FallbackPolicy(Contract):
    """A chain: who is tried, how, and what holds when all fail. Every candidate's key is unique.

    ``timeout_s`` bounds the whole chain. ``seed`` is mixed into every draw.
    """

    candidates: Annotated[tuple[Candidate, ...], Field(min_length=1, max_length=CANDIDATES_MAX)]
    strategy: Strategy = "sequential"
    default: Default | None = None
    timeout_s: Seconds | None = None
    hedge: Hedge = Hedge()
    adaptive: Adaptive = Adaptive()
    seed: Annotated[str, Field(max_length=200)] = ""

    @field_validator("candidates")
    @classmethod
    def _unique(cls, candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        keys = unique_keys(candidate.key for candidate in candidates)
        return tuple(
            one if one.key == key else one.model_copy(update={"name": key})
            for one, key in zip(candidates, keys, strict=True)
        )

    @model_validator(mode="after")
    def _can_start(self) -> Self:
        if all(candidate.on for candidate in self.candidates):
            raise ValueError("one candidate at least must have no condition `on`, to start with")
        return self
