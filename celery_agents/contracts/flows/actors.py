"""Actors: their ids, the messages that they are told, and what is told of them."""

from __future__ import annotations

import json
import uuid
from typing import Annotated, Any, Self

from pydantic import Field, StrictBool

from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.base import (
    Contract,
    JsonObject,
    JsonValue,
    Name,
    TrustedJson,
    read_contract,
)
from celery_agents.contracts.outcome import ErrorInfo
from celery_agents.errors import InvalidPayloadError, PayloadTooLargeError

#: Before the name of an actor in that of its flow.
ACTOR = "actor/"
#: Kinds of entries in an actor's own stream: an answer, and a message that was refused.
REPLY, DEAD = "reply", "dead"
#: Messages that an actor takes up in one commit, and those of one call of a client.
BATCH, TOLD_MAX = 64, 500
#: Bytes of an actor's state, and of an answer, as JSON.
STATE_MAX, ANSWER_MAX = 1_000_000, 256 * 1024
#: Reminders that an actor has at the most.
REMINDERS_MAX = 1_000
#: Before the id of the actor that is asked, in the key of the step that asks it.
CALL_KEY = "call/"
#: Actors in a chain of calls at the most.
CHAIN_MAX = 100
_NAMESPACE = uuid.UUID("6f0a3a4e-6a1f-5d1c-9d0e-3a8a4e4f7c21")


def actor_run_id(tenant: str, name: str, key: str) -> str:
    """The id of the run that is the actor of that key: the same for whoever tells it something."""
    return str(uuid.uuid5(_NAMESPACE, f"{tenant}\0{name}\0{key}"))


class ActorMessage(Contract):
    """A message to an actor: which method, and what it is given."""

    method: Name
    args: tuple[JsonValue, ...] = ()
    kwargs: JsonObject = Field(default_factory=dict)


class AddressedMessage(ActorMessage):
    """A message with the actor that it is for, and an id by which it is known when said again."""

    actor: Name
    key: Name
    id: Name | None = None

    @classmethod
    def read(cls, value: Any) -> Self:
        """A message as it came in.

        Raises:
            InvalidPayloadError: it is none.
        """
        return read_contract(cls, value, "message")

    @classmethod
    def several(cls, values: Any) -> list[Self]:
        """Those of one call. Raises as :meth:`read`."""
        if not isinstance(values, list) or not 0 < len(values) <= TOLD_MAX:
            raise InvalidPayloadError(f"messages: a list of 1 to {TOLD_MAX:,}.")
        return [cls.read(value) for value in values]

    def refuse_large(self, limit_bytes: int) -> None:
        """See that it is not above the limit.

        Raises:
            PayloadTooLargeError: it is.
        """
        if (size := len(json.dumps([self.args, self.kwargs]))) > limit_bytes:
            raise PayloadTooLargeError(
                f"A message of {size:,} bytes; the limit is {limit_bytes:,} (payload_limit_bytes)."
            )

    @property
    def about(self) -> dict[str, Any]:
        """The method and what it is given, as the mailbox has them."""
        return {"method": self.method, "args": list(self.args), "kwargs": self.kwargs}


class ActorCall(StepOptions):
    """Tell actors what another actor has for them; only actors ask for it.

    ``input`` is a list of messages. With ``wanted`` it is one, and its answer is the step's.
    """

    wanted: StrictBool = False
    #: The actors that wait for the answer, the first one first.
    chain: Annotated[tuple[str, ...], Field(max_length=CHAIN_MAX)] = ()


class ActorAnswer(Contract):
    """The answer to a message, or that there is none yet."""

    done: bool = False
    value: TrustedJson = None
    error: ErrorInfo | None = None


class ActorInfo(Contract):
    """An actor, as people see it."""

    actor: str
    key: str
    run_id: str
    #: ``waiting``: for messages, as a row; ``ready``, ``running``: it takes some up.
    state: str
    #: Messages that it has not taken up.
    unread: int = 0
    created_at: float


class ActorState(ActorInfo):
    """An actor with what it keeps."""

    #: After the last message that was taken up; None: it keeps nothing yet.
    value: TrustedJson = None
    #: Reminders by their keys: when they are due, in seconds since 1970.
    reminders: dict[str, float] = Field(default_factory=dict)
