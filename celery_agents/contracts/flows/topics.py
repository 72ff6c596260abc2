"""Messages on topics: told to whoever listens, and kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, TypeAdapter

from celery_agents.contracts.base import Contract, JsonValue, read_as
from celery_agents.contracts.flows.entries import StreamEntry
from celery_agents.visible import CONTROLS

#: Before the name of the stream that a topic is, and of that with its dead letters.
TOPIC, DEAD = "topic/", "dead/"
#: The kind of a message.
MESSAGE = "message"
_TOPIC: TypeAdapter[str] = TypeAdapter(
    Annotated[str, Field(min_length=1, max_length=170, pattern=rf"^[^{CONTROLS}*]*$", strict=True)]
)
_PRIORITY: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=0, le=9, strict=True)])


def topic_of(value: object) -> str:
    """The name of a topic.

    Raises:
        InvalidPayloadError: it is none.
    """
    return read_as(_TOPIC, value, "topic")


def priority_of(value: object) -> int:
    """The priority of a message: 0 is first, 9 last.

    Raises:
        InvalidPayloadError: it is none.
    """
    return read_as(_PRIORITY, value, "priority")


class TopicMessage(Contract):
    """A message on a topic; or, with ``missed``, how many went before who listens came to them."""

    topic: str
    #: Its place in the topic, from 0; -1 where messages were missed.
    place: int
    body: JsonValue = None
    priority: int = 5
    #: Seconds since 1970.
    at: float
    #: The run that published it.
    run_id: str | None = None
    missed: int = 0

    @classmethod
    def of(cls, topic: str, entry: StreamEntry) -> Self:
        """The message that an entry of a topic's stream is."""
        urgent, missed = (entry.data.get(name) for name in ("priority", "missed"))
        return cls(
            topic=topic,
            place=entry.seq,
            body=entry.data.get("body"),
            priority=urgent if type(urgent) is int else 5,  # a step may have told it otherwise
            at=entry.at,
            run_id=entry.run_id,
            missed=missed if type(missed) is int and entry.seq < 0 else 0,
        )


class TopicInfo(Contract):
    """A topic, in numbers."""

    topic: str
    messages: int
    #: When the last one came, in seconds since 1970.
    last_at: float

    @classmethod
    def of_stream(cls, told: Mapping[str, Any]) -> Self:
        """The topic that a stream is, by what is told of that."""
        name = told["stream"].removeprefix(TOPIC)
        return cls(topic=name, messages=told["entries"], last_at=told["last_at"])
