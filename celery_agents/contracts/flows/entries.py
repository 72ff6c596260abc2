"""Streams: lines in their order, added to by runs and by clients, and read by whoever follows."""

from __future__ import annotations

import json
from typing import Annotated, Any, Self

from pydantic import Field, TypeAdapter

from celery_agents.contracts.base import (
    Contract,
    JsonObject,
    Name,
    read_as,
    read_contract,
)
from celery_agents.errors import InvalidPayloadError, PayloadTooLargeError
from celery_agents.visible import CONTROLS

#: Before the names of streams that the service writes by itself, and nobody else: exchanges of a
#: session; what a flow was told and asked for; what it is sent; the threads of graphs; what an
#: actor has answered and refused; changes of replicated values; inputs of a map.
OWN = SESSION, HISTORY, SIGNALS, GRAPHS, ANSWERS, REPLICATED, INPUTS = (
    *("session/", "flow/", "signals/", "graph/"),
    *("actor/", "replicated/", "inputs/"),
)
#: Before those of graphs that are steps.
STEP_GRAPHS = f"{GRAPHS}step/"
#: Entries that one append may have.
APPENDED_MAX = 1_000
_VISIBLE = rf"^[^{CONTROLS}]*$"
_STREAM: TypeAdapter[str] = TypeAdapter(Name)
_PREFIX: TypeAdapter[str] = TypeAdapter(
    Annotated[str, Field(max_length=180, pattern=_VISIBLE, strict=True)]
)


def stream_of(value: object) -> str:
    """The name of a stream that may be written.

    Raises:
        InvalidPayloadError: it is none, or one of the service's own.
    """
    name = read_as(_STREAM, value, "stream")
    if name.startswith(OWN):
        raise InvalidPayloadError(f"stream: {name} is the service's own; choose another name.")
    return name


def prefix_of(value: object) -> str:
    """The beginning of names of streams; "" is that of all.

    Raises:
        InvalidPayloadError: it is none.
    """
    return read_as(_PREFIX, value, "of")


class StreamEvent(Contract):
    """An entry that is to be added to a stream."""

    kind: Annotated[str, Field(min_length=1, max_length=40, pattern=_VISIBLE, strict=True)]
    data: JsonObject = Field(default_factory=dict)
    #: Of one kind and key the stream has one entry: another one is the same, said again.
    key: Name | None = None

    @classmethod
    def read(cls, value: Any) -> Self:
        """An event as a message has it.

        Raises:
            InvalidPayloadError: it is none.
        """
        return read_contract(cls, value, "event")

    @classmethod
    def several(cls, values: Any) -> list[Self]:
        """Those of one append, as a message has them.

        Raises:
            InvalidPayloadError: it is no list of them, or of too many.
        """
        if not isinstance(values, list) or not 0 < len(values) <= APPENDED_MAX:
            raise InvalidPayloadError(f"events: a list of 1 to {APPENDED_MAX:,}.")
        return [cls.read(value) for value in values]

    def refuse_large(self, limit_bytes: int) -> None:
        """See that it is not above the limit.

        Raises:
            PayloadTooLargeError: it is.
        """
        if (size := len(json.dumps(self.data))) > limit_bytes:
            raise PayloadTooLargeError(
                f"An entry of {size:,} bytes; the limit is {limit_bytes:,} (payload_limit_bytes). "
                "Keep big values elsewhere and add their id or URL."
            )


class StreamEntry(Contract):
    """An entry of a stream, in its place."""

    stream: str
    #: Its place in the stream, from 0, without gaps.
    seq: int
    kind: str
    key: str | None = None
    data: JsonObject
    #: Seconds since 1970.
    at: float
    #: The run that added it.
    run_id: str | None = None
