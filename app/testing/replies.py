"""Replies that a test has written for an agent, and where the worker finds them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import AfterValidator, Field

import celery_agents.errors
from celery_agents.contracts.base import Contract, JsonValue
from celery_agents.errors import AgentsError

if TYPE_CHECKING:
    import redis

ERRORS: dict[str, type[AgentsError]] = {
    found.kind: found
    for found in vars(celery_agents.errors).values()
    if isinstance(found, type) and issubclass(found, AgentsError)
}


def _known(kind: str) -> str:
    if kind not in ERRORS:
        raise ValueError(f"must be one of {', '.join(sorted(ERRORS))}")
    return kind


class WrittenReply(Contract):
    """One reply: a pause, then an answer, calls of tools, or an error."""

    value: JsonValue = None
    #: Of a streamed answer.
    pieces: tuple[str, ...] = ()
    pause_s: Annotated[float, Field(ge=0)] = 0.0
    #: Tools to call, each with its arguments.
    calls: tuple[tuple[str, dict[str, JsonValue]], ...] = ()
    error: Annotated[str, AfterValidator(_known)] | None = None
    message: str = "scripted"
    retry_after_s: Annotated[float, Field(ge=0)] | None = None
    after_s: Annotated[float, Field(ge=0)] = 0.0
    input_tokens: Annotated[int, Field(ge=0)] = 100
    output_tokens: Annotated[int, Field(ge=0)] = 20
    #: For inputs alone in which this text stands.
    when: str | None = None

    def exception(self) -> AgentsError:
        """The error that it raises."""
        details: dict[str, Any] = {}
        if self.retry_after_s is not None:
            details["retry_after_s"] = self.retry_after_s
        return ERRORS[self.error or "error"](self.message, details)


class ReplyStore(Protocol):
    """Where replies are kept, and what the agents were asked."""

    def add(self, agent: str, reply: WrittenReply) -> None:
        """Add one to those of an agent."""
        ...

    def take(self, agent: str, told: str) -> WrittenReply | None:
        """The next one of an agent that was told this; None: it has none.

        The last one repeats. Those for a text that stands in what it was told go first.
        """
        ...

    def note(self, agent: str, asked: dict[str, Any]) -> None:
        """Note what an agent was asked."""
        ...

    def asked(self, agent: str) -> list[dict[str, Any]]:
        """Give what it was asked, in order."""
        ...

    def clear(self) -> None:
        """Forget everything."""
        ...


def _of(replies: Sequence[WrittenReply], told: str) -> tuple[str, list[WrittenReply]]:
    """The replies among which the next one is, with a name for them."""
    named = next((r.when for r in replies if r.when is not None and r.when in told), None)
    return json.dumps(named), [reply for reply in replies if reply.when == named]


class MemoryReplies:
    """Replies in this process."""

    def __init__(self) -> None:
        self._replies: defaultdict[str, list[WrittenReply]] = defaultdict(list)
        self._asked: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self._taken: Counter[tuple[str, str]] = Counter()

    def add(self, agent: str, reply: WrittenReply) -> None:
        """Add one."""
        self._replies[agent].append(reply)

    def take(self, agent: str, told: str) -> WrittenReply | None:
        """Take the next one."""
        group, replies = _of(self._replies.get(agent, ()), told)
        if not replies:
            return None
        self._taken[agent, group] += 1
        return replies[min(self._taken[agent, group], len(replies)) - 1]

    def note(self, agent: str, asked: dict[str, Any]) -> None:
        """Note what it was asked."""
        self._asked[agent].append(asked)

    def asked(self, agent: str) -> list[dict[str, Any]]:
        """Give what it was asked."""
        return [*self._asked.get(agent, ())]

    def clear(self) -> None:
        """Forget everything."""
        self._replies.clear()
        self._asked.clear()
        self._taken.clear()


#: Keys of the replies in the Redis of a stack: those themselves, what was asked, how many are gone.
_PREFIX = "agents:testing:"


class SharedReplies:
    """Replies in the Redis of a stack, which tests write and workers take."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis: Any = client

    def add(self, agent: str, reply: WrittenReply) -> None:
        """Add one."""
        self._redis.rpush(f"{_PREFIX}replies:{agent}", reply.model_dump_json())

    def take(self, agent: str, told: str) -> WrittenReply | None:
        """Take the next one; two workers take two."""
        kept = self._redis.lrange(f"{_PREFIX}replies:{agent}", 0, -1)
        group, replies = _of([WrittenReply.model_validate_json(one) for one in kept], told)
        if not replies:
            return None
        place = int(self._redis.hincrby(f"{_PREFIX}taken", f"{agent}:{group}", 1))
        return replies[min(place, len(replies)) - 1]

    def note(self, agent: str, asked: dict[str, Any]) -> None:
        """Note what it was asked."""
        self._redis.rpush(f"{_PREFIX}asked:{agent}", json.dumps(asked))

    def asked(self, agent: str) -> list[dict[str, Any]]:
        """Give what it was asked."""
        return [json.loads(one) for one in self._redis.lrange(f"{_PREFIX}asked:{agent}", 0, -1)]

    def clear(self) -> None:
        """Forget everything."""
        keys = [f"{_PREFIX}taken"]
        for kind in ("replies", "asked"):
            keys += self._redis.scan_iter(f"{_PREFIX}{kind}:*")
        self._redis.delete(*keys)


def connected(url: str) -> redis.Redis:
    """A client of a stack's broker."""
    import redis  # an agent alone has none

    return redis.Redis.from_url(url, socket_timeout=5, decode_responses=True)
