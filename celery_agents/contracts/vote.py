"""A vote: who is asked, by which rule the answers become one, and what was decided.

Everything that has parameters is a small model with a ``kind``; where the parameters have
defaults, the kind alone will do: ``"majority"`` is ``{"kind": "majority"}``. Shares and weights
are exact: a float counts as the decimal number that it prints as, and ``"2/3"`` is two thirds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)

from celery_agents.contracts.base import Contract, Name, Seconds
from celery_agents.contracts.outcome import Usage

_NUMBER = re.compile(r"(?P<number>\d{1,15}(\.\d{1,15})?(/\d{1,15})?)\s*(?P<percent>%?)")


def exact(value: object) -> Fraction:
    """The exact value of a number as people write it: 0.1 (one tenth), "2/3", "66.5%"."""
    if isinstance(value, Fraction):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Fraction(value)
    if isinstance(value, float) and math.isfinite(value):
        return Fraction(repr(value))
    if isinstance(value, str) and (match := _NUMBER.fullmatch(value.strip())):
        top, _, bottom = match["number"].partition("/")
        if bottom and "." not in top and int(bottom):
            return Fraction(int(top), int(bottom)) / (100 if match["percent"] else 1)
        if not bottom:
            return Fraction(top) / (100 if match["percent"] else 1)
    raise ValueError(f"{value!r:.60} is not a number like 0.5, '2/3' or '66%'")


def _readable(value: Fraction) -> int | str:
    return value.numerator if value.denominator == 1 else str(value)


#: A fraction; in JSON an integer or a string such as "2/3".
Exact = Annotated[
    Fraction,
    BeforeValidator(exact),
    PlainSerializer(_readable, return_type=int | str, when_used="json"),
    WithJsonSchema({"type": ["number", "string"]}),
]
Weight = Annotated[Exact, Field(ge=0, le=1_000_000)]
Share = Annotated[Exact, Field(ge=0, le=1)]


def unique_keys(names: Iterable[str]) -> list[str]:
    """Names made unique: the second "gpt" is "gpt#2", the third "gpt#3"."""
    seen: dict[str, int] = {}
    keys: list[str] = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        keys.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    if len(set(keys)) < len(keys):
        raise ValueError("names must stay unique when copies are numbered with #2, #3, …")
    return keys


class Choice(Contract):
    """One of several kinds. ``kind`` is always written, even where defaults are left out."""

    kind: str

    @model_serializer(mode="wrap")
    def _with_kind(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"kind": self.kind, **handler(self)}


def _by_kind(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


_KIND = Field(discriminator="kind")
_SHORT = BeforeValidator(_by_kind)


# ---------------------------------------------------------------- rules


class _Rule(Choice):
    #: What a ballot holds under this rule.
    ballot: ClassVar[Literal["option", "ranking", "approvals"]] = "option"


class Plurality(_Rule):
    """Most weight wins."""

    kind: Literal["plurality"] = "plurality"


class Weighted(_Rule):
    """Most weight wins: plurality under the name that tells readers that weights differ."""

    kind: Literal["weighted"] = "weighted"


class Majority(_Rule):
    """More than half of the weight that was cast."""

    kind: Literal["majority"] = "majority"


class Supermajority(_Rule):
    """At least ``threshold`` of the weight that was cast (above one half)."""

    kind: Literal["supermajority"] = "supermajority"
    threshold: Annotated[Exact, Field(gt=Fraction(1, 2), le=1)] = Fraction(2, 3)


class Unanimous(_Rule):
    """All of the weight that was cast."""

    kind: Literal["unanimous"] = "unanimous"


class InstantRunoff(_Rule):
    """The weakest option is struck out until one has more than half of the live ballots."""

    kind: Literal["instant_runoff"] = "instant_runoff"
    ballot = "ranking"


class Borda(_Rule):
    """A point for every option ranked below, half a point for one ranked level."""

    kind: Literal["borda"] = "borda"
    ballot = "ranking"


class Schulze(_Rule):
    """The Condorcet winner, or else the winner by strongest (widest) paths of pairwise wins."""

    kind: Literal["schulze"] = "schulze"
    ballot = "ranking"


class Approval(_Rule):
    """Each voter approves any number of options; most approved weight wins."""

    kind: Literal["approval"] = "approval"
    ballot = "approvals"


Rule = Annotated[
    Plurality
    | Weighted
    | Majority
    | Supermajority
    | Unanimous
    | InstantRunoff
    | Borda
    | Schulze
    | Approval,
    _KIND,
    _SHORT,
]


# ---------------------------------------------------------------- weights


class VoterWeights(Choice):
    """Each ballot weighs what its voter weighs."""

    kind: Literal["voter"] = "voter"


class Reliability(Choice):
    """The voter's weight times the log-odds of its measured record.

    ``records`` maps agents to (right answers, answers judged).
    """

    kind: Literal["reliability"] = "reliability"
    records: dict[Name, tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]] = Field(
        default_factory=dict
    )

    @field_validator("records")
    @classmethod
    def _possible(cls, value: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
        for agent, (right, judged) in value.items():
            if right > judged:
                raise ValueError(f"{agent}: {right} right answers of {judged}")
        return value


class Confidence(Choice):
    """The voter's weight times exp(confidence / temperature): a softmax over the ballots.

    A ballot without a confidence counts as one of 0.5. A low temperature trusts confident
    ballots more; a high one makes all ballots equal.
    """

    kind: Literal["confidence"] = "confidence"
    temperature: Annotated[float, Field(ge=0.1, le=1000)] = 1.0


Weights = Annotated[VoterWeights | Reliability | Confidence, _KIND, _SHORT]


# ---------------------------------------------------------------- when it ends


class Quorum(Contract):
    """How many ballots must be cast: at least ``count`` and at least ``share`` of the voters.

    ``3`` is a count; ``"1/2"``, ``"50%"`` or ``0.5`` is a share.
    """

    count: Annotated[int, Field(ge=1, le=10_000)] = 1
    share: Share = Fraction(0)

    @model_validator(mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        if isinstance(value, Mapping | Quorum):
            return value
        return {"count": value} if isinstance(value, int) else {"share": value}

    def needed(self, voters: int) -> int:
        """Ballots needed from a panel of ``voters``."""
        return max(self.count, math.ceil(self.share * voters))


class StatedOrder(Choice):
    """The first of ``choices`` wins; without choices the first in alphabetical order."""

    kind: Literal["stated"] = "stated"


class Seeded(Choice):
    """Drawn by a hash of the seed and the option: the same in every recount."""

    kind: Literal["seeded"] = "seeded"
    seed: Annotated[str, Field(max_length=200)] = ""


class AskSupervisor(Choice):
    """A tie goes to whoever ``escalate`` names."""

    kind: Literal["supervisor"] = "supervisor"


class FailOnTie(Choice):
    """A tie is no decision."""

    kind: Literal["fail"] = "fail"


Tie = Annotated[StatedOrder | Seeded | AskSupervisor | FailOnTie, _KIND, _SHORT]


class NoStop(Choice):
    """Everybody who was asked is waited for."""

    kind: Literal["none"] = "none"


class ExactStop(Choice):
    """Stop when no remaining ballots can change the answer."""

    kind: Literal["exact"] = "exact"


class AdaptiveConsistency(Choice):
    """Stop also when leader over runner-up is as probable as ``threshold``."""

    kind: Literal["adaptive_consistency"] = "adaptive_consistency"
    threshold: Annotated[Exact, Field(gt=Fraction(1, 2), lt=1)] = Fraction(19, 20)


class Lead(Choice):
    """Stop also when the leader is ``k`` ballots ahead of the runner-up."""

    kind: Literal["lead"] = "lead"
    k: Annotated[int, Field(ge=1, le=10_000)] = 3


class UnanimousWindow(Choice):
    """Stop also when the last ``size`` ballots agree."""

    kind: Literal["unanimous_window"] = "unanimous_window"
    size: Annotated[int, Field(ge=2, le=10_000)] = 4


Stop = Annotated[NoStop | ExactStop | AdaptiveConsistency | Lead | UnanimousWindow, _KIND, _SHORT]


class Waves(Contract):
    """Ask ``sizes[0]`` voters, then ``sizes[1]``, …; the last size repeats, up to ``max`` voters.

    ``3`` is ``{"sizes": [3]}``.
    """

    sizes: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, max_length=100)]
    max: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _sizes_alone(cls, value: Any) -> Any:
        if isinstance(value, int):
            return {"sizes": (value,)}
        return {"sizes": value} if isinstance(value, list | tuple) else value


class Supervisor(Choice):
    """An agent decides, or the first of its backups that can."""

    kind: Literal["supervisor"] = "supervisor"
    agent: Name
    #: Tried in this order when the supervisor fails.
    backups: tuple[Name, ...] = ()


class Person(Choice):
    """The run waits for a person's approval."""

    kind: Literal["person"] = "person"


class NoEscalation(Choice):
    """The vote fails with its tally."""

    kind: Literal["none"] = "none"


def _escalation(value: Any) -> Any:
    if isinstance(value, str) and value not in {"person", "none"}:
        return {"kind": "supervisor", "agent": value}
    return _by_kind(value)


Escalation = Annotated[Supervisor | Person | NoEscalation, _KIND, BeforeValidator(_escalation)]


class Normalisation(Contract):
    """When two written options are the same one. Unicode NFC always holds."""

    casefold: bool = True
    strip: bool = True  # spaces around and doubled, quotes around, a full stop at the end
    numbers: bool = True  # "42", "42.0" and 4.2e1 are one option


# ---------------------------------------------------------------- the vote


class Voter(Contract):
    """One who is asked: an agent, what its ballot weighs, how many times it is sampled."""

    agent: Name
    weight: Weight = Fraction(1)
    name: Name | None = None
    samples: Annotated[int, Field(ge=1, le=1000)] = 1

    @model_validator(mode="before")
    @classmethod
    def _agent_alone(cls, value: Any) -> Any:
        return {"agent": value} if isinstance(value, str) else value

    @property
    def key(self) -> str:
        """The name under which its ballot is counted."""
        return self.name or self.agent


_MOST_RANKED = 100  # counting rankings takes time with its cube
Conflict = Literal["decision", "resource", "priority", "data"]


class VotePolicy(Contract):
    """How a question is put to a vote. After validation every voter is one ballot, its key unique.

    ``weights`` count under every rule. ``tie`` serves the rules that can tie; majority and its
    like reach their share or do not. ``min_consensus`` is the least consensus score (see
    :class:`Decision`) with which an answer stands. ``deliberation`` is the most rounds in which
    voters see the others' ballots and may change theirs. ``timeout_s`` closes the vote.
    """

    voters: Annotated[tuple[Voter, ...], Field(min_length=1, max_length=1000)]
    choices: Annotated[tuple[Name, ...], Field(min_length=1, max_length=1000)] | None = None
    rule: Rule = Majority()
    weights: Weights = VoterWeights()
    quorum: Quorum = Quorum()
    tie: Tie = StatedOrder()
    stop: Stop = ExactStop()
    waves: Waves | None = None
    min_consensus: Share = Fraction(0)
    escalate: Escalation = NoEscalation()
    deliberation: Annotated[int, Field(ge=0, le=20)] = 0
    timeout_s: Seconds | None = None
    conflict: Conflict = "decision"
    normalise: Normalisation = Normalisation()

    @field_validator("voters")
    @classmethod
    def _one_ballot_each(cls, voters: tuple[Voter, ...]) -> tuple[Voter, ...]:
        copies = [voter for voter in voters for _ in range(voter.samples)]
        keys = unique_keys(voter.key for voter in copies)
        return tuple(
            Voter(agent=one.agent, weight=one.weight, name=None if key == one.agent else key)
            for one, key in zip(copies, keys, strict=True)
        )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
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
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
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
        """What it votes for: its option, its approvals, or its ranking, best first."""
        if self.option is not None:
            return (self.option,)
        return self.ranking or self.approvals or ()


DecidedBy = Literal["rule", "tie_break", "supervisor", "person", "none"]
Deadlocked = Literal["no_ballots", "quorum", "threshold", "tie", "consensus"]


class Decision(Contract):
    """What a vote came to, with everything that it rests on.

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
    consensus: Annotated[float, Field(ge=0, le=1)]
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
