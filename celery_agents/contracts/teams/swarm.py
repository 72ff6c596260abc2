"""Swarms: agents that belong together; told the same, asked to agree, given work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from celery_agents.contracts.base import (
    PLACES_MAX,
    Contract,
    JsonValue,
    Name,
    Option,
    Seconds,
    TrustedJson,
    Whole,
    read_as,
)
from celery_agents.contracts.outcome import State
from celery_agents.contracts.vote import Decision

#: The built-in flow that does what swarms are asked.
SWARM = "agents.swarm"
#: Before the name of the stream with who is in a swarm, and of its topic.
STREAM = "swarm/"
#: Kinds of that stream's entries: a member, and one that is none any more; work that was begun, and
#: that has ended; something else that was asked under an id.
JOINED, LEFT, BEGAN, ENDED, ASKED = "joined", "left", "began", "ended", "asked"
#: The signal by which work under way is told who is in the swarm now.
NEWS = "members"
MEMBERS_MAX, UNITS_MAX = 1_000, 20_000
#: The priority of a unit that says none; 0 is first, 9 last.
PRIORITY = 5
_LAST = 9

WorkStrategy = Literal["round_robin", "least_busy", "priority"]
#: The agents of members, by the members' names.
Members = Annotated[dict[Name, Name], Field(max_length=MEMBERS_MAX)]
_MEMBERS: TypeAdapter[dict[str, str]] = TypeAdapter(Members)
_NAME: TypeAdapter[str] = TypeAdapter(Annotated[Name, Field(max_length=150, pattern=r"^[^*]*$")])


def members_of(value: object) -> dict[str, str]:
    """Members by their names, and their agents.

    Raises:
        InvalidPayloadError: it is nothing of the kind.
    """
    return read_as(_MEMBERS, value, "members")


def swarm_of(value: object) -> str:
    """The name of a swarm.

    Raises:
        InvalidPayloadError: it is none.
    """
    return read_as(_NAME, value, "swarm")


class _Asked(Contract):
    """The part that all requests of a swarm have."""

    swarm: Name
    members: Members
    timeout_s: Seconds | None = None

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.members:
            raise ValueError(f"the swarm {self.swarm} has no members")
        return self


class Broadcasting(_Asked):
    """All members are asked the same."""

    verb: Literal["broadcast"] = "broadcast"
    input: JsonValue = None
    #: Who says it, as those who listen to the swarm's topic are told.
    sender: Name | None = None


class Agreeing(_Asked):
    """All members are asked to choose, and so many have to choose the same."""

    verb: Literal["consensus"] = "consensus"
    input: JsonValue = None
    required_votes: Annotated[int, Field(ge=1), Whole]
    choices: Annotated[tuple[Option, ...], Field(min_length=1, max_length=1_000)] | None = None

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.required_votes > len(self.members):
            raise ValueError("required_votes is more than the members there are")
        return self


class Working(_Asked):
    """Units of work are given to members, each unit to one; ``timeout_s`` is of each unit."""

    verb: Literal["work"] = "work"
    input: Annotated[tuple[JsonValue, ...], Field(max_length=UNITS_MAX)]
    strategy: WorkStrategy = "round_robin"
    at_a_time: Annotated[int, Field(ge=1, le=1_000), Whole] = 1

    def urgency(self, unit: int) -> int:
        """The priority of a unit: its own ``priority``, where it says one."""
        told = self.input[unit]
        said = told.get("priority") if isinstance(told, dict) else None
        return said if type(said) is int and 0 <= said <= _LAST else PRIORITY


_REQUEST: TypeAdapter[Broadcasting | Agreeing | Working] = TypeAdapter(
    Annotated[Broadcasting | Agreeing | Working, Field(discriminator="verb")]
)


def request_of(value: Any) -> Broadcasting | Agreeing | Working:
    """A request to a swarm, as a message has it.

    Raises:
        InvalidPayloadError: it is nothing of the kind.
    """
    return read_as(_REQUEST, value, "swarm")


class SwarmNews(Contract):
    """The members of a swarm, and the length of its stream when they were these."""

    members: Members
    at: Annotated[int, Field(ge=0, le=PLACES_MAX), Whole]


_NEWS: TypeAdapter[SwarmNews] = TypeAdapter(SwarmNews)


def news_of(value: Any) -> SwarmNews:
    """The members of a swarm, as a signal says it.

    Raises:
        InvalidPayloadError: it is nothing of the kind.
    """
    return read_as(_NEWS, value, "members")


class SwarmInfo(Contract):
    """A swarm in a list of them."""

    name: str
    #: Entries of its stream: who joined and left, and what was asked.
    entries: int
    #: When the last one came, in seconds since 1970.
    last_at: float

    @classmethod
    def of_stream(cls, told: Mapping[str, Any]) -> Self:
        """The swarm that a stream is of, by what is told of that."""
        name = told["stream"].removeprefix(STREAM)
        return cls(name=name, entries=told["entries"], last_at=told["last_at"])


class SwarmWork(Contract):
    """Work of a swarm that is under way."""

    run_id: str
    state: State
    #: Units that were given to members so far, and how they are.
    units: int = 0
    succeeded: int = 0
    failed: int = 0
    running: int = 0


class SwarmStatus(Contract):
    """How a swarm stands."""

    name: str
    tenant: str = ""
    #: The agents of its members, by the members' names.
    members: dict[str, str] = Field(default_factory=dict)
    #: Work that it has not ended yet, the newest first, up to a hundred.
    work: tuple[SwarmWork, ...] = ()


class SwarmFailure(Contract):
    """The reason that a member, or a unit of work, has no answer."""

    kind: str
    message: str


class Broadcast(Contract):
    """The answers of a swarm's members by their names, and of those who gave none, why."""

    answers: dict[str, TrustedJson] = Field(default_factory=dict)
    failures: dict[str, SwarmFailure] = Field(default_factory=dict)


class Consensus(Contract):
    """The outcome of a question to all: whether so many members chose the same, and what.

    ``option`` is what most chose, also where it is ``reached`` by too few; ``votes`` are those of
    each option. Members whose answer could not change that any more were not waited for.
    """

    reached: bool
    option: str | None
    required_votes: int
    votes: dict[str, int]
    members: int
    #: All that the vote rests on.
    decision: Decision


class WorkDone(Contract):
    """The answers to units of work in their order, who gave them, and of those without one, why."""

    count: int
    succeeded: int
    failed: int
    results: tuple[TrustedJson, ...]
    #: The member that each unit was given to.
    by: tuple[str, ...]
    failures: dict[int, SwarmFailure] = Field(default_factory=dict)
