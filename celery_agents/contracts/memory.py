"""Memory: spaces of texts that agents keep for later runs, and what is recalled of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, TypeAdapter, field_validator, model_validator

from celery_agents.contracts.base import Contract, Name, read_as, read_contract
from celery_agents.contracts.experience import Experienced
from celery_agents.errors import InvalidPayloadError
from celery_agents.visible import CONTROLS

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_PLACE = re.compile(r"\{([^{}]*)\}")
_VALUE = rf"^[^{CONTROLS}/]*$"
_VISIBLE = rf"^[^{CONTROLS}]*$"
#: A value of a scope: it becomes a part of a space's name, which slashes separate.
ScopeValue = Annotated[str, Field(min_length=1, max_length=100, pattern=_VALUE, strict=True)]
#: What a run is about, by names that spaces have places for.
Scope = Annotated[
    dict[Annotated[str, StringConstraints(pattern=f"^{_KEY.pattern}$")], ScopeValue],
    Field(max_length=20),
]
#: Seconds since 1970.
_MOMENT: TypeAdapter[float] = TypeAdapter(Annotated[float, Field(strict=True, ge=0, le=1e11)])
#: Tokens that are recalled where nobody says how many.
RECALL_TOKENS = 1_000
#: Characters of one memory, and of one question, at the most.
TEXT_MAX = 20_000

#: A text to be remembered, or to be asked about.
MemoryText = Annotated[str, Field(min_length=1, max_length=TEXT_MAX, strict=True)]
#: From nearly nothing to all: each halving is worth a half-life of age.
Importance = Annotated[float, Field(ge=0.001, le=1)]
#: 3: people and their apps; 2: agents; 1: agents of a run that had read what others wrote.
Trust = Annotated[int, Field(ge=1, le=3, strict=True)]
#: Tokens that anybody may ask for.
RECALL_TOKENS_MAX = 100_000
#: Memories with which one is linked.
LINKS_MAX = 20
LinkedIds = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=36)], ...], Field(max_length=LINKS_MAX)
]
_LINKED: TypeAdapter[tuple[str, ...]] = TypeAdapter(LinkedIds)
_SCOPE: TypeAdapter[dict[str, str]] = TypeAdapter(Scope)
_TEXT: TypeAdapter[str] = TypeAdapter(MemoryText)
_IMPORTANCE: TypeAdapter[float] = TypeAdapter(Importance)
_TRUST: TypeAdapter[int] = TypeAdapter(Trust)


class MemoryPolicy(Contract):
    """A memory of the configuration: its space, and how much that keeps."""

    #: The name of the space, with places like ``{customer}`` for the values of a run's scope.
    space: Annotated[str, Field(min_length=1, max_length=180)]
    #: Tokens that the space has at the most: beyond it the least important and oldest go first.
    capacity_tokens: Annotated[int, Field(ge=1_000, le=1_000_000_000)] = 200_000
    #: Days of age that weigh as much as half of the importance.
    half_life_days: Annotated[float, Field(gt=0, le=36_500)] = 90.0
    #: The language whose words are brought to their stems; "" leaves words as they are. It is that
    #: with which a space begins.
    language: Annotated[str, Field(pattern=r"^[a-z]{0,20}$")] = "english"
    #: The agent that makes the vectors of texts, by which they are compared beside their words; its
    #: name stands with each. None: words alone count.
    embed: Name | None = None
    #: How memories are found: by their words ("sql"), by vectors beside them ("vector"), by links
    #: beside both ("graph"), or as the plug-in does that offers a backend of this name. None: by
    #: vectors where ``embed`` names an agent, else by words.
    backend: Name | None = None
    #: Of a model whose run has read what others wrote: a person is asked about each memory, or it
    #: keeps none, or it keeps them with a trust of 1. The code of a function decides by itself, as
    #: by "allow", but for "deny".
    write_untrusted: Literal["ask", "deny", "allow"] = "ask"
    #: Agents whose outcomes are kept here, by code, and that are told what did well before.
    learns_from: Annotated[tuple[Name, ...], Field(max_length=100)] = ()

    @field_validator("space")
    @classmethod
    def _has_places(cls, space: str) -> str:
        for name in _PLACE.findall(space):
            if not _KEY.fullmatch(name):
                raise ValueError(f"{{{name}}} is no place: use a name, as {{customer}}")
        if "{" in _PLACE.sub("", space) or "}" in _PLACE.sub("", space):
            raise ValueError("its braces do not belong together")
        if any(len(_PLACE.findall(part)) > 1 for part in space.split("/")):
            raise ValueError("put a slash between two places: else two scopes may be one space")
        return space

    @model_validator(mode="after")
    def _has_its_vectors(self) -> Self:
        if self.backend == "vector" and self.embed is None:
            raise ValueError('backend = "vector" needs embed, the agent that makes vectors')
        if self.backend == "sql" and self.embed is not None:
            raise ValueError('backend = "sql" compares words alone: take embed out, or it')
        return self

    def filled(self, scope: Mapping[str, str], who: str) -> str:
        """The name of the space for a scope.

        Raises:
            InvalidPayloadError: the scope lacks a value, or the name is too long.
        """
        missing = [name for name in _PLACE.findall(self.space) if not scope.get(name)]
        if missing:
            raise InvalidPayloadError(
                f"The memory {who!r} is of {self.space!r}, and the scope has no {missing[0]!r}: "
                f'ask with scope={{"{missing[0]}": …}}.'
            )
        name = _PLACE.sub(lambda place: scope[place[1]], self.space)
        if len(name) > _NAME_MAX:
            raise InvalidPayloadError(f"The memory {who!r}: its space's name is too long.")
        return name


_NAME_MAX = 180


class MemoryRecord(Contract):
    """A text that a space keeps."""

    id: str
    text: str
    #: What a model would read of it, as estimated.
    tokens: int
    importance: float = 1.0
    #: Seconds since 1970: since when it holds, and until when it did.
    at: float
    until: float | None = None
    #: The one in whose place it stands.
    replaces: str | None = None
    #: Who remembered it, in which run; None: a client.
    agent: str | None = None
    run_id: str | None = None
    #: 3: of people and their apps; 2: of an agent; 1: of one whose run had read what others wrote.
    trust: int = 2
    #: The conversation of which it is a turn, and its place there.
    thread: str = ""
    turn: int = 0
    #: How well it fits what was asked for; 0 where nothing was.
    score: int = 0
    #: How the step went whose input the text is, where that was kept to learn from.
    experience: Experienced | None = None


class NewMemories(Contract):
    """Texts that a client has remembered, as one message carries them."""

    name: Name
    texts: Annotated[tuple[MemoryText, ...], Field(min_length=1, max_length=1_000)]
    importance: Importance = 1.0
    replaces: Annotated[str, Field(max_length=36)] | None = None
    trust: Trust = 3
    about: LinkedIds = ()
    caused_by: LinkedIds = ()
    thread: Annotated[str, Field(max_length=180, pattern=_VISIBLE)] = ""

    @classmethod
    def read(cls, value: Any) -> Self:
        """Those of a message.

        Raises:
            InvalidPayloadError: they are none.
        """
        return read_contract(cls, value, "memories")


def moment_of(value: object) -> float | None:
    """A moment in seconds since 1970, or None.

    Raises:
        InvalidPayloadError: it is neither, or says no zone.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidPayloadError("at: a time needs its zone, as 2026-11-30T09:00+01:00.")
        value = value.timestamp()
    return None if value is None else read_as(_MOMENT, value, "at")


def scope_of(value: Any) -> dict[str, str]:
    """A scope.

    Raises:
        InvalidPayloadError: it is none.
    """
    return read_as(_SCOPE, {} if value is None else value, "scope")


def memory_text_of(value: object, what: str = "text") -> str:
    """A text to be remembered or asked about. Raises as above."""
    return read_as(_TEXT, value, what)


def importance_of(value: object) -> float:
    """An importance. Raises as above."""
    return read_as(_IMPORTANCE, value, "importance")


def links_of(about: object, caused_by: object) -> tuple[tuple[str, str], ...]:
    """The links of a memory: their kinds, and ids of its other ends. Raises as above."""
    told = (("about", about), ("caused_by", caused_by))
    return tuple(
        (_LINK_KINDS[name], one) for name, ids in told for one in read_as(_LINKED, ids, name)
    )


#: Kinds of links as the journal has them, by what they are called where they are given.
_LINK_KINDS = {"about": "about", "caused_by": "caused"}


def trust_of(value: object) -> int:
    """A trust. Raises as above."""
    return read_as(_TRUST, value, "trust")


class ToEmbed(Contract):
    """A portion of memories that lack a vector, as a client is told of it."""

    agent: Name
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    #: Where the next portion begins; None: nothing is left.
    more: int | None
