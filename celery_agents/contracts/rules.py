"""The parts of a vote: rules, weights, ties, stop rules, waves, escalation.

Everything that has parameters is a small model with a ``kind``; where the parameters have
defaults, the kind alone will do: ``"majority"`` is ``{"kind": "majority"}``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal, Union

from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    StrictBool,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from celery_agents.contracts.base import Contract, Name, Whole, also
from celery_agents.contracts.exact import Exact, Share, form
from celery_agents.contracts.fallback import CANDIDATES_MAX


class Choice(Contract):
    """One of several kinds. ``kind`` is always written, even where defaults are left out."""

    kind: str

    @model_serializer(mode="wrap")
    def _with_kind(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"kind": self.kind, **handler(self)}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        found = handler.resolve_ref_schema(schema)
        found["required"] = ["kind", *(n for n in found.get("required", ()) if n != "kind")]
        return schema


def _by_kind(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


_KIND = Field(discriminator="kind")


def _short(*choices: type[Choice]) -> BeforeValidator:
    """For a union of choices: the kind alone will do."""
    kinds = tuple(choice.model_fields["kind"].default for choice in choices)
    whole: Any = Annotated[Union[choices], _KIND]  # noqa: UP007 - of a tuple
    return BeforeValidator(_by_kind, json_schema_input_type=Union[whole, Literal[kinds]])  # noqa: UP007


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
    threshold: Annotated[Exact, Field(gt=0.5, le=1), form(exclusiveMinimum=0.5, maximum=1)] = (
        Fraction(2, 3)
    )


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
    _short(
        Plurality,
        Weighted,
        Majority,
        Supermajority,
        Unanimous,
        InstantRunoff,
        Borda,
        Schulze,
        Approval,
    ),
]


# ---------------------------------------------------------------- weights


class VoterWeights(Choice):
    """Each ballot weighs what its voter weighs."""

    kind: Literal["voter"] = "voter"


_Judged = Annotated[int, Field(ge=0, le=1_000_000_000_000), Whole]


class Reliability(Choice):
    """The voter's weight times the log-odds of its measured record.

    ``records`` maps agents to (right answers, answers judged).
    """

    kind: Literal["reliability"] = "reliability"
    records: dict[Name, tuple[_Judged, _Judged]] = Field(default_factory=dict)

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
    temperature: Annotated[float, Field(ge=0.1, le=1000, strict=True)] = 1.0


Weights = Annotated[
    VoterWeights | Reliability | Confidence,
    _KIND,
    _short(VoterWeights, Reliability, Confidence),
]


# ---------------------------------------------------------------- when it ends


_Count = Annotated[int, Field(ge=1, le=10_000), Whole]


_AShare = Annotated[Share, form(exclusiveMinimum=0, maximum=1)]


class Quorum(Contract):
    """How many ballots must be cast: at least ``count`` and at least ``share`` of the voters.

    ``3`` is a count; ``"1/2"``, ``"50%"`` or ``0.5`` is a share.
    """

    count: _Count = 1
    share: Share = Fraction(0)

    @model_validator(mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        if isinstance(value, Mapping | Quorum):
            return value
        whole = isinstance(value, float) and value.is_integer() and value != 1.0
        return {"count": value} if whole or isinstance(value, int) else {"share": value}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return also(core_schema, handler, _Count, _AShare)

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


Tie = Annotated[
    StatedOrder | Seeded | AskSupervisor | FailOnTie,
    _KIND,
    _short(StatedOrder, Seeded, AskSupervisor, FailOnTie),
]


class NoStop(Choice):
    """Everybody who was asked is waited for."""

    kind: Literal["none"] = "none"


class ExactStop(Choice):
    """Stop when no remaining ballots can change the answer."""

    kind: Literal["exact"] = "exact"


class AdaptiveConsistency(Choice):
    """Stop also when leader over runner-up is as probable as ``threshold``."""

    kind: Literal["adaptive_consistency"] = "adaptive_consistency"
    threshold: Annotated[
        Exact, Field(gt=0.5, lt=1), form(exclusiveMinimum=0.5, exclusiveMaximum=1)
    ] = Fraction(19, 20)


class Lead(Choice):
    """Stop also when the leader is ``k`` ballots ahead of the runner-up."""

    kind: Literal["lead"] = "lead"
    k: Annotated[int, Field(ge=1, le=10_000), Whole] = 3


class UnanimousWindow(Choice):
    """Stop also when the last ``size`` ballots agree."""

    kind: Literal["unanimous_window"] = "unanimous_window"
    size: Annotated[int, Field(ge=2, le=10_000), Whole] = 4


Stop = Annotated[
    NoStop | ExactStop | AdaptiveConsistency | Lead | UnanimousWindow,
    _KIND,
    _short(NoStop, ExactStop, AdaptiveConsistency, Lead, UnanimousWindow),
]


_Size = Annotated[int, Field(ge=1), Whole]
_Sizes = Annotated[tuple[_Size, ...], Field(min_length=1, max_length=100)]


class Waves(Contract):
    """Ask ``sizes[0]`` voters, then ``sizes[1]``, …; the last size repeats, up to ``max`` voters.

    ``3`` is ``{"sizes": [3]}``.
    """

    sizes: _Sizes
    max: Annotated[int, Field(ge=1), Whole] | None = None

    @model_validator(mode="before")
    @classmethod
    def _sizes_alone(cls, value: Any) -> Any:
        if isinstance(value, int | float):
            return {"sizes": (value,)}
        return {"sizes": value} if isinstance(value, list | tuple) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return also(core_schema, handler, _Size, _Sizes)


class Supervisor(Choice):
    """An agent decides, or the first of its backups that can."""

    kind: Literal["supervisor"] = "supervisor"
    agent: Name
    #: Tried in this order when the supervisor fails.
    backups: Annotated[tuple[Name, ...], Field(max_length=CANDIDATES_MAX - 1)] = ()


class Person(Choice):
    """The run waits for a person's approval."""

    kind: Literal["person"] = "person"
    #: Patterns of those who may answer, as an audit names them; empty: whoever may approve runs.
    by: Annotated[tuple[Name, ...], Field(max_length=100)] = ()


class NoEscalation(Choice):
    """The vote fails with its tally."""

    kind: Literal["none"] = "none"


def _escalation(value: Any) -> Any:
    if isinstance(value, str) and value not in {"person", "none"}:
        return {"kind": "supervisor", "agent": value}
    return _by_kind(value)


Escalation = Annotated[
    Supervisor | Person | NoEscalation,
    _KIND,
    BeforeValidator(
        _escalation,
        json_schema_input_type=Annotated[Supervisor | Person | NoEscalation, _KIND] | Name,
    ),
]


class Normalisation(Contract):
    """When two written options are the same one. Unicode NFC always holds."""

    casefold: StrictBool = True
    strip: StrictBool = True  # spaces around and doubled, quotes around, a full stop at the end
    numbers: StrictBool = True  # "42", "42.0" and 4.2e1 are one option
