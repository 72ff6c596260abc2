"""Telling and listening, wherever messages are kept: in the journal, or in this process alone."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import count

from celery_agents.contracts.base import JsonValue, name_of
from celery_agents.contracts.flows.entries import StreamEntry, StreamEvent
from celery_agents.contracts.flows.topics import (
    DEAD,
    MESSAGE,
    TOPIC,
    TopicMessage,
    priority_of,
    topic_of,
)
from celery_agents.errors import redact

#: Seconds between two looks of who listens, where no wake comes.
LOOK_S = 1.0
#: Seconds until a message at which a function has failed is given to it again, at the most.
_AGAIN_MAX_S = 5.0


class Messages(ABC):
    """Publishes messages on topics, and gives them to whoever listens."""

    def publish(
        self,
        topic: str,
        body: JsonValue,
        *,
        priority: int = 5,
        key: str | None = None,
        tenant: str = "",
    ) -> int:
        """Tell a message to all who listen to a topic, now and later; returns its place.

        Messages of a lower ``priority`` (0 to 9) go first. Of one ``key`` a topic has one message:
        said again it is the same.

        Raises:
            InvalidPayloadError: a part of it is wrong.
        """
        return self.publish_many(topic, [body], priority=priority, key=key, tenant=tenant)[0]

    def publish_many(
        self,
        topic: str,
        bodies: Iterable[JsonValue],
        *,
        priority: int = 5,
        key: str | None = None,
        tenant: str = "",
    ) -> list[int]:
        """Tell several, at most 1,000, all of them or none; each has ``key`` and its number."""
        name, urgent = topic_of(topic), priority_of(priority)
        told = [
            StreamEvent(
                kind=MESSAGE,
                data={"body": body, "priority": urgent},
                key=key if key is None or not n else f"{key}#{n}",
            )
            for n, body in enumerate(bodies)
        ]
        return self._append(TOPIC + name, told, tenant)

    def listen(
        self, topic: str, name: str, *, idle_s: float | None = None, tenant: str = ""
    ) -> Iterator[TopicMessage]:
        """Messages of a topic that the listener of this name has not come past, as they come.

        A new one begins with the first message that is kept. Of up to 500 that are there those of
        the lowest priority number come first, then the older. They are done when the next ones are
        asked for: each comes at least once, whatever dies. It ends when none has come for
        ``idle_s``, else never.
        """
        stream, cursor = TOPIC + topic_of(topic), f"{TOPIC}{topic}: {name_of(name)}"
        done, idle_since = None, time.monotonic()
        while True:
            found, done = self._page(cursor, stream, done, tenant)
            messages = [TopicMessage.of(topic, entry) for entry in found]
            yield from sorted(messages, key=lambda m: (m.place >= 0, m.priority, m.place))
            if messages:
                idle_since = time.monotonic()
                continue
            left_s = LOOK_S
            if idle_s is not None:
                left_s = min(LOOK_S, idle_since + idle_s - time.monotonic())
                if left_s <= 0:
                    return
            self._wait(stream, left_s, tenant)

    def handle(
        self,
        topic: str,
        name: str,
        function: Callable[[TopicMessage], object],
        *,
        failures_max: int = 5,
        idle_s: float | None = None,
        tenant: str = "",
    ) -> int:
        """Give each message to a function, as :meth:`listen` does; returns how many it took.

        One at which it raises so often is a dead letter (:meth:`dead`), and the next one comes.
        """
        taken = 0
        for message in self.listen(topic, name, idle_s=idle_s, tenant=tenant):
            for failures in count(1):
                try:
                    function(message)
                except Exception as error:  # noqa: BLE001 - somebody else's code; told as a letter
                    if failures >= failures_max:
                        self._bury(message, name, error, tenant)
                        break
                    time.sleep(min(0.05 * 2.0**failures, _AGAIN_MAX_S))
                else:
                    taken += 1
                    break
        return taken

    def history(self, topic: str, *, after: int = -1, tenant: str = "") -> Iterator[TopicMessage]:
        """All messages of a topic that are kept, behind a place, in the order of their coming."""
        for entry in self._read(TOPIC + topic_of(topic), after, tenant):
            yield TopicMessage.of(topic, entry)

    def dead(self, topic: str, *, tenant: str = "") -> Iterator[StreamEntry]:
        """Messages at which functions that listen have failed too often, and why."""
        return self._read(DEAD + topic_of(topic), -1, tenant)

    def _bury(self, message: TopicMessage, name: str, error: Exception, tenant: str) -> None:
        reason = redact(f"{type(error).__name__}: {error}")
        about = {"place": message.place, "body": message.body, "listener": name, "reason": reason}
        key = f"{name_of(name)}#{message.place}"[-180:]
        told = StreamEvent(kind="dead", data=about, key=key)
        self._append(DEAD + message.topic, [told], tenant)

    @abstractmethod
    def _append(self, stream: str, told: list[StreamEvent], tenant: str) -> list[int]: ...

    @abstractmethod
    def _read(self, stream: str, after: int, tenant: str) -> Iterator[StreamEntry]: ...

    @abstractmethod
    def _page(
        self, cursor: str, stream: str, done: str | None, tenant: str
    ) -> tuple[list[StreamEntry], str | None]:
        """The entries behind a cursor, and what says that they are done."""

    @abstractmethod
    def _wait(self, stream: str, seconds: float, tenant: str) -> None:
        """Wait until something may have come."""
