"""``agents.topics``: messages that are told to whoever listens, kept in the journal."""

from __future__ import annotations

import builtins
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from redis.exceptions import RedisError

from celery_agents import names
from celery_agents.client.bus.events import EventStore
from celery_agents.client.bus.listening import Messages
from celery_agents.client.control import Control
from celery_agents.client.verbs import AskVerb
from celery_agents.contracts.base import tenant_of
from celery_agents.contracts.flows.entries import StreamEntry, StreamEvent
from celery_agents.contracts.flows.subscriptions import GAP, SubscriptionInfo
from celery_agents.contracts.flows.topics import MESSAGE, TOPIC, TopicInfo, topic_of
from celery_agents.errors import InvalidPayloadError

if TYPE_CHECKING:
    from celery_agents.address import RedisAddress

#: Seconds for a worker to answer.
_TIMEOUT_S = 10.0


class Topics(Messages):
    """Topics over the journal: what is published lasts, Redis only wakes who listens.

    Topics belong to a tenant; without one, to nobody in particular.
    """

    def __init__(
        self, events: EventStore, control: Control, ask: AskVerb, address: RedisAddress
    ) -> None:
        self._events = events
        self._control = control
        self._ask = ask
        self._address = address
        self._redis: Any = None

    def subscribe(
        self,
        topic: str,
        agent: str | None = None,
        *,
        flow: str | None = None,
        name: str | None = None,
        since: Literal["now", "start"] = "now",
        tenant: str = "",
        timeout: float = _TIMEOUT_S,
    ) -> SubscriptionInfo:
        """Have an agent, or a flow, take each message of a topic: one run each, of its priority.

        The run's input is the message's body. It is a subscription as those of
        :meth:`EventStore.on`, and is paused, listed and deleted there.

        Raises:
            InvalidPayloadError: a part of it is wrong.
        """
        if (agent is None) == (flow is None):
            raise InvalidPayloadError("subscribe: one of agent and flow is needed.")
        run = None if agent is None else self._ask.s(agent)
        about: dict[str, Any] = {"since": since, "tenant": tenant, "timeout": timeout}
        return self._events.on(
            TOPIC + topic_of(topic),
            kind=MESSAGE,
            start=flow,
            run=run,
            take="{data[body]}",
            priority="{data[priority]}",
            name=name or f"{TOPIC}{topic}: {agent or flow}",
            **about,
        )

    def list(
        self, *, tenant: str = "", limit: int = 100, timeout: float = _TIMEOUT_S
    ) -> builtins.list[TopicInfo]:
        """Topics that have messages, in the order of their names."""
        found = self._control.ask(names.TOPICS, tenant_of(tenant), limit).get(timeout=timeout)
        return [TopicInfo.of_stream(one) for one in found]

    def _append(self, stream: str, told: builtins.list[StreamEvent], tenant: str) -> Any:
        places = self._events.append(stream, told, tenant=tenant)
        with suppress(RedisError):  # who listens looks by himself soon
            self._client().publish(_channel(stream, tenant), "1")
        return places

    def _read(self, stream: str, after: int, tenant: str) -> Iterator[StreamEntry]:
        return self._events.read(stream, after=after, tenant=tenant)

    def _page(
        self, cursor: str, stream: str, done: str | None, tenant: str
    ) -> tuple[Any, str | None]:
        while True:
            found, done = self._events.page(cursor, of=stream, done=done, tenant=tenant)
            # The names of others may begin as this one does; what was trimmed of all is told.
            gaps = [entry for entry in found if entry.kind == GAP and entry.seq < 0]
            mine = gaps + [e for e in found if e.stream == stream and e.kind == MESSAGE]
            if mine or not found:
                return mine, done

    def _wait(self, stream: str, seconds: float, tenant: str) -> None:
        until = time.monotonic() + seconds
        try:
            with self._client().pubsub(ignore_subscribe_messages=True) as hearing:
                hearing.subscribe(_channel(stream, tenant))
                while (left_s := until - time.monotonic()) > 0:
                    if hearing.get_message(timeout=left_s) is not None:
                        return
        except RedisError:
            time.sleep(max(until - time.monotonic(), 0.0))

    def _client(self) -> Any:
        if self._redis is None:
            self._redis = self._address.client()
        return self._redis

    def close(self) -> None:
        """Close the connection by which listeners are woken."""
        if self._redis is not None:
            self._redis.close()


def _channel(stream: str, tenant: str) -> str:
    return f"{names.TOPIC_WAKES}{tenant}/{stream}"
