"""A vote: who is asked, by which rule the answers become one, and what was decided.

Shares and weights are exact: a float counts as the decimal number that it prints as, and
``"2/3"`` is two thirds. The parts of a policy stand in :mod:`celery_agents.contracts.rules`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from celery_agents.contracts.base import Contract, Name, Option, Seconds, Whole, also
from celery_agents.contracts.compensation import Compensated
from celery_agents.contracts.exact import Exact, Share, Weight, exact, unique_keys
from celery_agents.contracts.outcome import Usage
from celery_agents.contracts.rules import (
    AdaptiveConsistency,
    Approval,
    AskSupervisor,
    Borda,
    Choice,
    Confidence,
    Escalation,
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
    Rule,
    Schulze,
    Seeded,
    StatedOrder,
    Stop,
    Supermajority,
    Supervisor,
    Tie,
    Unanimous,
    UnanimousWindow,
    VoterWeights,
    Waves,
    Weighted,
    Weights,
)

__all__ = [
    "Abstention",
    "AdaptiveConsistency",
    "Approval",
    "AskSupervisor",
    "Ballot",
    "Borda",
    "Choice",
    "Confidence",
    "Conflict",
    "Deadlocked",
    "DecidedBy",
    "Decision",
    "Escalation",
    "Exact",
    "ExactStop",
    "FailOnTie",
    "InstantRunoff",
    "Lead",
    "Majority",
    "NoEscalation",
    "NoStop",
    "Normalisation",
    "Person",
    "Plurality",
    "Quorum",
    "Reliability",
    "Rule",
    "Schulze",
    "Seeded",
    "Share",
    "StatedOrder",
    "Stop",
    "Supermajority",
    "Supervisor",
    "Tie",
    "Unanimous",
    "UnanimousWindow",
    "VotePolicy",
    "Voter",
    "VoterWeights",
    "Waves",
    "Weight",
    "Weighted",
    "Weights",
    "exact",
    "unique_keys",
]


class Voter(Contract):
    """One who is asked: an agent, what its ballot weighs, how many times it is sampled."""

    agent: Name
    weight: Weight = Fraction(1)
    name: Name | None = None
    samples: Annotated[int, Field(ge=1, le=1000), Whole] = 1
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
        """The name under which its ballot is counted."""
        return self.name or self.agent


_MOST_RANKED = 100  # counting rankings takes time with its cube
Conflict = Literal["decision", "resource", "priority", "data"]


#: The default of ``ballots_max``, a setting of the client and of the workers.
BALLOTS_MAX = 1_000
#: Ballots of one vote, its rounds included, whatever that setting allows.
MOST_BALLOTS = 10_000
#: Weights are counted in units of their common denominator; a decimal takes as many digits as it
#: has places.
_UNIT_DIGITS = 100


def _refuse_many(ballots: int) -> None:
    if ballots > MOST_BALLOTS:
        raise ValueError(
            f"{ballots:,} ballots or answers (voters x samples x rounds); at most {MOST_BALLOTS:,}"
        )


def _refuse_fine(weights: Iterable[Fraction]) -> None:
    unit = 1
    for one in weights:
        unit = math.lcm(unit, one.denominator)
        if unit >= 10**_UNIT_DIGITS:
            raise ValueError(
                f"the weights' common denominator has more than {_UNIT_DIGITS} digits: round them"
            )


def one_each(voters: Iterable[Voter]) -> tuple[Voter, ...]:
    """Voters with their samples written out: one ballot each, under unique keys."""
    voters = [*voters]
    _refuse_many(sum(voter.samples for voter in voters))
    _refuse_fine(voter.weight for voter in voters)
    copies = [voter for voter in voters for _ in range(voter.samples)]
    keys = unique_keys(voter.key for voter in copies)
    if any(key.startswith("@") or "@round" in key for key in keys):
        raise ValueError(
            "names beginning with @, or with @round in them, have a meaning of their own"
        )
    return tuple(_under(key, one) for one, key in zip(copies, keys, strict=True))


def _under(key: str, voter: Voter) -> Voter:
    """Return the voter with one ballot under a key; itself, if it is that already."""
    name = None if key == voter.agent else key
    if voter.samples == 1 and voter.name == name:
        return voter
    return voter.model_copy(update={"name": name, "samples": 1})


class VotePolicy(Contract):
    """How a question is put to a vote. After validation every voter is one ballot, its key unique.

    ``weights`` count under every rule. ``tie`` serves the rules that can tie; majority and its
    like reach their share or do not. ``min_consensus`` is the least consensus score (see
    :class:`Decision`) with which an answer stands. ``deliberation`` is the most rounds in which
    voters see the others' ballots and may change theirs. ``timeout_s`` closes the vote. Without
    ``waves`` a stop rule that does not wait for certainty chooses them; else all are asked at once.
    """

    voters: Annotated[tuple[Voter, ...], Field(min_length=1, max_length=1000)]
    choices: Annotated[tuple[Option, ...], Field(min_length=1, max_length=1000)] | None = None
    rule: Rule = Majority()
    weights: Weights = VoterWeights()
    quorum: Quorum = Quorum()
    tie: Tie = StatedOrder()
    stop: Stop = ExactStop()
    waves: Waves | None = None
    min_consensus: Share = Fraction(0)
    escalate: Escalation = NoEscalation()
    deliberation: Annotated[int, Field(ge=0, le=20), Whole] = 0
    timeout_s: Seconds | None = None
    conflict: Conflict = "decision"
    normalise: Normalisation = Normalisation()

    @field_validator("voters")
    @classmethod
    def _one_ballot_each(cls, voters: tuple[Voter, ...]) -> tuple[Voter, ...]:
        return one_each(voters)

    @property
    def ballots_in_all(self) -> int:
        """Ballots that may be paid: of all who may be asked, in the first and each later round."""
        asked = len(self.voters)
        if self.waves is not None and self.waves.max is not None:
            asked = min(asked, self.waves.max)
        return asked * (1 + self.deliberation)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _refuse_many(self.ballots_in_all)
        if self.choices is not None and len(set(self.choices)) < len(self.choices):
            raise ValueError("choices must differ")
        if self.rule.ballot == "ranking" and self.choices is None:
            raise ValueError(f"rule {self.rule.kind} needs choices to rank")
        if self.rule.ballot == "ranking" and len(self.choices or ()) > _MOST_RANKED:
            raise ValueError(f"rule {self.rule.kind} ranks at most {_MOST_RANKED} choices")
        if self.rule.ballot != "option" and self.stop.kind not in {"none", "exact"}:
            raise ValueError(f"stop {self.stop.kind} counts single options, not {self.rule.kind}")
        if self.tie.kind == "supervisor" and self.escalate.kind == "none":
            raise ValueError("tie supervisor needs escalate: an agent's name, or person")
        return self


# ---------------------------------------------------------------- ballots and the decision

#: Why a voter has no voice: it answered nonsense, failed, was never started, did not answer in
#: time, or said that it abstains.
Abstention = Literal["broken", "failed", "skipped", "missing", "declined"]


class Ballot(Contract):
    """One voter's answer: an option, a ranking (best first) or approvals; or an abstention."""

    voter: Name
    option: str | None = None
    ranking: tuple[str, ...] | None = None
    approvals: tuple[str, ...] | None = None
    confidence: Annotated[float, Field(ge=0, le=1, strict=True)] | None = None
    reason: str | None = None
    weight: Weight = Fraction(1)
    abstained: Abstention | None = None
    usage: Usage = Usage()

    @model_validator(mode="after")
    def _one_voice(self) -> Self:
        voices = [v for v in (self.option, self.ranking, self.approvals) if v is not None]
        if len(voices) + (self.abstained is not None) != 1:
            raise ValueError("a ballot is an option, a ranking, approvals or an abstention")
        return self

    @property
    def choices(self) -> tuple[str, ...]:
        """Its choices: its option, its approvals, or its ranking, best first."""
        if self.option is not None:
            return (self.option,)
        return self.ranking or self.approvals or ()


DecidedBy = Literal["rule", "tie_break", "supervisor", "person", "none"]
Deadlocked = Literal["no_ballots", "quorum", "threshold", "tie", "consensus"]


class Decision(Contract):
    """The result of a vote, with everything that it rests on.

    ``consensus`` (0 to 1) is the mean support of the answer over the weight that was cast; a
    ballot supports an option with 1 when it chose or approved it, and a ranking of m options with
    (options ranked below it + half of those level with it) / (m - 1). For single choices this is
    the agreement score of self-consistency (Lyu et al., "Calibrating Large Language Models with
    Sample Consistency", 2024); for rankings it is the normalised Borda score. Without an answer
    it is that of the best supported option.

    ``tally`` counts ballots for each option (for rankings: first places), ``scores`` is what the
    rule compared, ``leading`` the options that it put first: two and more are a tie. Fractions in
    ``scores`` are strings. ``saved_cost_usd`` is what the voters who
    were never asked would have cost at the mean cost of those who answered.
    """

    option: str | None
    decided_by: DecidedBy
    rule: str
    stopped_by: str
    deadlock: Deadlocked | None = None
    leading: tuple[str, ...] = ()
    consensus: Annotated[float, Field(ge=0, le=1, strict=True)]
    tally: dict[str, int]
    scores: dict[str, Exact]
    ballots: tuple[Ballot, ...]
    abstentions: dict[Abstention, int]
    quorum: int
    quorum_met: bool
    waves: int = 1
    rounds: int = 0
    samples_used: int
    samples_saved: int
    usage: Usage
    saved_cost_usd: float | None
    conflict: Conflict = "decision"
    reason: str | None = None
