"""The options of the client's verbs, as type checkers know them.

What may be given is decided by the contracts, which the worker uses too; tests hold these against
them. None stands for an option that is not given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal, TypeAlias
from uuid import UUID

from celery import Signature
from typing_extensions import TypedDict

from celery_agents.contracts.ask import Ask
from celery_agents.contracts.budgets import RunBudget
from celery_agents.contracts.compensation import Compensation
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.fallback import Adaptive, Candidate, Default, Hedge
from celery_agents.contracts.gather import Gather
from celery_agents.contracts.patterns import Fallback, Vote
from celery_agents.contracts.policies import RetryPolicy, Webhook
from celery_agents.contracts.teams.spec import AgentSpec
from celery_agents.contracts.vote import (
    AdaptiveConsistency,
    Approval,
    AskSupervisor,
    Borda,
    Confidence,
    ExactStop,
    FailOnTie,
    InstantRunoff,
    Lead,
    Majority,
    NoEscalation,
    Normalisation,
    NoStop,
    Person,
    Plurality,
    Quorum,
    Reliability,
    Schulze,
    Seeded,
    StatedOrder,
    Supermajority,
    Supervisor,
    Unanimous,
    UnanimousWindow,
    Voter,
    VoterWeights,
    Waves,
    Weighted,
)

Fields = Mapping[str, Any]
#: No Sequence, since a single text is one too.
Texts = list[str] | tuple[str, ...]
Number = float | str | Fraction
JsonSchema = dict[str, Any]
GivenCandidates = Sequence[str | Candidate | Fields]
GivenVoters = Sequence[str | Voter | Fields]
#: Whom the inputs of a map are put to: an agent, agents, or a panel: ``agents.vote.s([...])``.
GivenAgents: TypeAlias = str | Texts | Signature | Ask | Fallback | Vote | Gather | Fields
GivenCompensation = Compensation | str | Fields | Literal[False]

GivenRule = (
    Literal[
        "plurality",
        "weighted",
        "majority",
        "supermajority",
        "unanimous",
        "instant_runoff",
        "borda",
        "schulze",
        "approval",
    ]
    | Plurality
    | Weighted
    | Majority
    | Supermajority
    | Unanimous
    | InstantRunoff
    | Borda
    | Schulze
    | Approval
    | Fields
)
GivenWeights = (
    Literal["voter", "reliability", "confidence"] | VoterWeights | Reliability | Confidence | Fields
)
GivenTie = (
    Literal["stated", "seeded", "supervisor", "fail"]
    | StatedOrder
    | Seeded
    | AskSupervisor
    | FailOnTie
    | Fields
)
GivenStop = (
    Literal["none", "exact", "adaptive_consistency", "lead", "unanimous_window"]
    | NoStop
    | ExactStop
    | AdaptiveConsistency
    | Lead
    | UnanimousWindow
    | Fields
)


class RetryFields(TypedDict, total=False):
    """A :class:`RetryPolicy` as a dict."""

    max_attempts: int
    base_delay_s: float
    max_delay_s: float
    max_retry_after_s: float


class RunOptions(TypedDict, total=False):
    """Options of every verb."""

    retry: RetryPolicy | RetryFields | None
    timeout_s: float | None
    deadline_s: float | None
    priority: int | None
    tenant: str | None
    stream: bool | None
    max_depth: int | None
    max_width: int | None
    max_steps: int | None
    max_handoffs: int | None
    max_cost: float | None
    budget: RunBudget | Fields | None
    scope: Mapping[str, str] | None
    webhook: Webhook | str | Fields | None
    id: str | UUID | None


class AskOptions(RunOptions, total=False):
    """Options of ``ask``; see :class:`~celery_agents.Ask`."""

    spec: AgentSpec | Fields | None
    messages: Sequence[ChatMessage | Fields] | None
    session: str | None
    window_tokens: int | None
    reset_active: bool | None
    instructions: str | None
    choices: Texts | None
    answer_schema: JsonSchema | None
    when_open: Literal["wait", "fail"] | list[str] | tuple[str, ...] | None
    cache: Literal["use", "refresh", "off"] | None
    similarity: float | None
    compensation: GivenCompensation | None


class EstimateOptions(TypedDict, total=False):
    """Options of ``estimate``: those of ``ask`` that are part of the request."""

    messages: Sequence[ChatMessage | Fields] | None
    instructions: str | None
    choices: Texts | None
    answer_schema: JsonSchema | None


class FallbackOptions(RunOptions, total=False):
    """Options of ``fallback``; see :class:`~celery_agents.Fallback`."""

    strategy: Literal["sequential", "parallel", "weighted", "adaptive", "hedged"] | None
    default: Default | Fields | None
    hedge: Hedge | Fields | None
    adaptive: Adaptive | Fields | None
    seed: str | None
    work: str | None
    instructions: str | None
    answer_schema: JsonSchema | None


class VoteOptions(RunOptions, total=False):
    """Options of ``vote``; see :class:`~celery_agents.Vote`."""

    choices: Texts | None
    rule: GivenRule | None
    weights: GivenWeights | None
    quorum: Quorum | Number | Fields | None
    tie: GivenTie | None
    stop: GivenStop | None
    waves: Waves | float | list[int] | tuple[int, ...] | Fields | None
    min_consensus: Number | None
    escalate: Supervisor | Person | NoEscalation | str | Fields | None
    deliberation: int | None
    conflict: Literal["decision", "resource", "priority", "data"] | None
    normalise: Normalisation | Fields | None
    instructions: str | None
    voter_timeout_s: float | None


class GatherOptions(RunOptions, total=False):
    """Options of ``gather``; see :class:`~celery_agents.Gather`."""

    how: Literal["merge", "mean", "median", "concat", "best"] | None
    judge: str | None
    separator: str | None
    at_least: int | None
    instructions: str | None
    answer_schema: JsonSchema | None


class MapOptions(RunOptions, total=False):
    """Options of ``map``; see :class:`~celery_agents.Map`."""

    assign: Literal["round_robin", "least_busy"] | None
    on_failure: Literal["go_on", "stop"] | None
    max_concurrent: int | None
    wave: int | None
    instructions: str | None
    choices: Texts | None
    answer_schema: JsonSchema | None
    member_timeout_s: float | None
    compensation: GivenCompensation | None
