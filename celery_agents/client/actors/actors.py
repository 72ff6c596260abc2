"""``agents.actors``: objects of a key, whose state lasts, told something and asked."""

from __future__ import annotations

import builtins
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from celery_agents import names
from celery_agents.client.connection import Connection
from celery_agents.client.control import Control
from celery_agents.contracts.base import JsonValue, name_of, tenant_of
from celery_agents.contracts.flows.actors import (
    ActorAnswer,
    ActorInfo,
    ActorState,
    AddressedMessage,
)
from celery_agents.errors import ResultTimeoutError

#: Seconds for a worker to take a message.
_TIMEOUT_S = 10.0
#: Seconds between two looks for an answer: at first, and at most.
_LOOK_S = (0.02, 0.5)


class Actors:
    """Tells actors something, asks them, and looks at them.

    An actor is there once it is told something: of each name and key one, which takes its messages
    up one after the other. It belongs to a tenant; without one, to nobody in particular. ``id``
    names a message: sent again under it, it is the same, and is applied once.
    """

    def __init__(self, control: Control, connection: Connection) -> None:
        self._control = control
        self._queue = connection.queue

    def tell(
        self,
        actor: str,
        key: str,
        method: str,
        *args: JsonValue,
        id: str | None = None,  # noqa: A002 - as callers write it
        tenant: str = "",
        timeout: float = _TIMEOUT_S,
        **named: JsonValue,
    ) -> str:
        """Put a message into an actor's mailbox, which lasts; returns the message's id.

        Raises:
            UnknownActorError: there is no such actor or method.
            IdInUseError: the id is that of another message.
            ActorEndedError: the actor was cancelled.
        """
        told = _addressed((actor, key, method), args, named, id)
        return self._told([told], tenant, timeout)[0]

    def tell_many(
        self,
        messages: Iterable[tuple[Any, ...]],
        *,
        tenant: str = "",
        timeout: float = _TIMEOUT_S,
    ) -> builtins.list[str]:
        """Put up to 500 messages ``(actor, key, method, *args)`` into mailboxes, all or none.

        Raises as :meth:`tell`.
        """
        several = [_addressed(one[:3], one[3:], {}) for one in messages]
        return self._told(several, tenant, timeout) if several else []

    def ask(
        self,
        actor: str,
        key: str,
        method: str,
        *args: JsonValue,
        id: str | None = None,  # noqa: A002 - as callers write it
        tenant: str = "",
        timeout: float = 60.0,
        **named: JsonValue,
    ) -> Any:
        """Ask an actor, and wait for what its method returns. What it raises is raised here.

        Sent again under its ``id``, the same answer is given.

        Raises:
            ResultTimeoutError: there is no answer yet; the message is in the mailbox.
            UnknownActorError: there is no such actor or method.
            IdInUseError: the id is that of another message, or of one that was told.
            ActorEndedError: the actor was cancelled.
        """
        told = _addressed((actor, key, method), args, named, id)
        until = time.monotonic() + timeout
        (known,) = self._told([told], tenant, timeout, wanted=True)
        pause_s, most_s = _LOOK_S
        while (left_s := until - time.monotonic()) > 0:
            found = self._answer(told, known, tenant, max(left_s, 1.0))
            if found.error is not None:
                raise found.error.exception()
            if found.done:
                return found.value
            time.sleep(min(pause_s, max(until - time.monotonic(), 0.0)))
            pause_s = min(2 * pause_s, most_s)
        raise ResultTimeoutError(f"{actor}/{key} has not answered yet; the message is {known}.")

    def state(
        self, actor: str, key: str, *, tenant: str = "", timeout: float = _TIMEOUT_S
    ) -> ActorState | None:
        """An actor with what it keeps, as it was committed last; None: there is none."""
        where = (name_of(actor, "actor"), name_of(key, "key"), tenant_of(tenant))
        found = self._control.ask(names.ACTOR_STATE, *where).get(timeout=timeout)
        return None if found is None else ActorState.model_validate(found)

    def list(
        self,
        actor: str | None = None,
        *,
        tenant: str = "",
        limit: int = 100,
        timeout: float = _TIMEOUT_S,
    ) -> builtins.list[ActorInfo]:
        """Actors of a name, or all, the newest first."""
        named = None if actor is None else name_of(actor, "actor")
        found = self._control.ask(names.ACTORS, named, tenant_of(tenant), limit)
        return [ActorInfo.model_validate(one) for one in found.get(timeout=timeout)]

    def dead(
        self, actor: str, key: str, *, tenant: str = "", timeout: float = _TIMEOUT_S
    ) -> Iterator[dict[str, Any]]:
        """Messages that an actor refused, or could not tell another one, and why."""
        where, after = (name_of(actor, "actor"), name_of(key, "key"), tenant_of(tenant)), -1
        while True:
            asked = self._control.ask(names.ACTOR_STATE, *where, after)
            page = asked.get(timeout=timeout)
            yield from page
            if not page:
                return
            after = page[-1]["seq"]

    def _told(
        self,
        told: builtins.list[AddressedMessage],
        tenant: str,
        timeout: float,
        *,
        wanted: bool = False,
    ) -> builtins.list[str]:
        about: dict[str, JsonValue] = {"wanted": wanted, "queue": self._queue}
        asked = self._control.ask(
            names.TELL,
            [one.compact() for one in told],
            tenant_of(tenant),
            recorded=True,
            options=about,
        )
        ids: builtins.list[str] = asked.get(timeout=timeout)
        return ids

    def _answer(
        self, told: AddressedMessage, known: str, tenant: str, timeout: float
    ) -> ActorAnswer:
        asked = self._control.ask(names.ANSWER, told.actor, told.key, known, tenant)
        found = asked.get(timeout=timeout)
        asked.forget()
        return ActorAnswer.model_validate(found)


def _addressed(
    to: tuple[Any, ...], args: Any, named: dict[str, Any], known: str | None = None
) -> AddressedMessage:
    """A message, under an id of its own: sent twice by a broken connection, it is applied once."""
    told = {"args": [*args], "kwargs": named, "id": known or str(uuid.uuid4())}
    return AddressedMessage.read(
        {**dict(zip(("actor", "key", "method"), to, strict=False)), **told}
    )
