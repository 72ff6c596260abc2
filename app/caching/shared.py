"""Answers in Redis, for all workers, and the queues of those who wait for one.

Without Redis nothing is known and nobody waits: each asks by themselves.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from redis import Redis

from app.admission.scripts import CLOCK, TIMEOUT_S, Query, Scripts
from app.caching import scripts
from app.concurrency.future import Future
from app.messaging.redis import connect_redis
from app.settings import Settings
from celery_agents import names
from celery_agents.contracts.caching import CacheState, CacheUse
from celery_agents.errors import UnreadableValueError
from celery_agents.sealing import Seals, opened

#: What is noted of a Redis that is away.
_AWAY = ("cache", "Nothing is cached without Redis")
#: Of what is counted in it, the field of a state.
_COUNTED = {
    "entries": "entries",
    "bytes": "bytes",
    "local": "local_hits",
    "shared": "shared_hits",
    "similar": "similar_hits",
    "misses": "misses",
    "saved": "saved_usd",
}


#: The field of an answer's key, and of a group's, in which it stands.
_FIELD = "cached"
#: Vectors that one script reads.
VECTORS_READ = 200


@dataclass(frozen=True, slots=True)
class Found:
    """An answer that is cached; without a text it is the one that was known already."""

    text: str | None
    until: int
    price_usd: float


@dataclass(frozen=True, slots=True)
class Missed:
    """An answer that is not cached. Who leads asks for all; else everybody asks by themselves."""

    leads: bool = False
    away: bool = False  # so is Redis: nobody knows


@dataclass(frozen=True, slots=True)
class Taken:
    """An answer that somebody asks for already, whose lease ends in so many seconds."""

    lease_s: float


Look = Found | Missed | Taken


@dataclass(frozen=True, slots=True)
class Sought:
    """An answer that a step looks for, by its key."""

    key: str
    name: str  # under which it is counted
    step_id: str
    priority: int = 5


class SharedAnswers:
    """The cache of all workers.

    Args:
        redis: that has it.
        most_bytes: what it may take there.
        lease_s: how long a leader is waited for that does not renew its lease.
        seals: what encrypts answers and questions; None: nothing does.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        most_bytes: int,
        lease_s: float,
        clock: str = CLOCK,
        seals: Seals | None = None,
    ) -> None:
        self._redis = redis
        self._seals = seals
        self._scripts = shared = Scripts(redis, "cache")
        self._most_bytes = most_bytes
        self._lease_ms = round(lease_s * 1000)
        self._names = {
            name: shared.register(clock + scripts.COMMON + text)
            for name, text in scripts.SCRIPTS.items()
        }

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """Make the cache of these settings; nothing is opened before its first use."""
        timeout_s = min(settings.redis_timeout_s, TIMEOUT_S)
        redis = connect_redis(settings, timeout_s, address=settings.cache_address)
        most, lease_s = settings.cache_bytes, settings.lease_s
        return cls(redis, most_bytes=most, lease_s=lease_s, seals=settings.seals)

    def hidden(self, key: str) -> str:
        """A key as it stands in Redis: where answers are encrypted it confirms no guess of them."""
        return key if self._seals is None else self._seals.mark(key)

    def _sealed(self, value: Any, place: str) -> str:
        assert self._seals is not None
        return json.dumps(self._seals.seal(value, place, _FIELD))

    def look(self, asked: Sought, use: CacheUse | str, known: int | None = None) -> Future[Look]:
        """Look for an answer; ``known`` is the end of the one that is known here."""

        def read(found: Any) -> Look:
            match found:
                case [1, text, until, price]:
                    return self._found(asked.key, text, int(until), float(price))
                case [2, left_ms]:
                    return Taken(max(left_ms, 0) / 1000)
                case [3]:
                    return Missed(leads=True)
                case _:
                    return Missed()

        told = (asked.key, asked.step_id, self._lease_ms, known or "", use, asked.name)
        return self._run("LOOK", told, read, Missed(away=True))

    def put(
        self,
        asked: Sought,
        text: str,
        *,
        ttl_s: float,
        price_usd: float,
        worth_usd: float,
        near: tuple[str, bytes] | None = None,
    ) -> Future[tuple[int, list[str]]]:
        """Keep an answer. Gives its end, 0 where it is not kept, and the steps to be woken.

        ``near``: the group of questions that may be similar, and the vector of this one.
        """

        def read(found: Any) -> tuple[int, list[str]]:
            return int(found[0]), _ids(found[1])

        # Numbers in nano-dollars: what is printed of them in Redis has few digits.
        worth = (repr(price_usd), repr(worth_usd * 1e9), asked.name, self._most_bytes)
        if self._seals is not None:
            text = self._sealed(text, asked.key)
            near = near and (near[0], self._sealed(b64encode(near[1]).decode(), near[0]).encode())
        told = (asked.key, asked.step_id, max(round(ttl_s * 1000), 1), *worth, text, *(near or ()))
        return self._run("PUT", told, read, (0, []))

    def _found(self, key: str, text: bytes, until: int, price_usd: float) -> Look:
        if not text or self._seals is None:
            return Found(text.decode() if text else None, until, price_usd)
        try:
            return Found(opened(self._seals, json.loads(text), key, _FIELD), until, price_usd)
        except (UnreadableValueError, ValueError):  # of an older key, or of before there was one
            return Missed()

    def leave(self, asked: Sought, *, alone: bool) -> Future[list[str]]:
        """Ask no more, without an answer to be kept. Gives the steps to be woken.

        ``alone``: no answer to this is ever kept; all who want one ask by themselves.
        """
        told = (asked.key, asked.step_id, "alone" if alone else "next")
        return self._run("LEAVE", told, _ids, [])

    def renew(self, asked: Sought) -> None:
        """Hold the lease of a leader for longer."""
        self._run("RENEW", (asked.key, asked.step_id, self._lease_ms), lambda _: None, None)

    def near(self, group: str, after: int) -> Future[tuple[int, list[tuple[int, str, bytes]]]]:
        """Vectors of a group behind a place, some of them; and the newest place of all groups."""

        def read(found: Any) -> tuple[int, list[tuple[int, str, bytes]]]:
            flat = iter(found[1])
            told = zip(flat, flat, flat, strict=True)
            return found[0], [
                (int(place), key.decode(), self._vector(group, packed))
                for place, key, packed in told
            ]

        return self._run("NEAR", (group, after, VECTORS_READ), read, (after, []))

    def _vector(self, group: str, packed: bytes) -> bytes:
        """The vector and the text of a question; empty: nobody here can read them any more."""
        if self._seals is None:
            return packed
        try:
            return b64decode(opened(self._seals, json.loads(packed), group, _FIELD))
        except (UnreadableValueError, ValueError, TypeError):
            return b""

    def park(self, asked: Sought, place: float) -> Future[list[str]]:
        """Let a step wait whose row has been given back. Gives the steps to be woken."""
        return self._run("PARK", (asked.key, asked.step_id, repr(place)), _ids, [])

    def pump(self, key: str) -> Future[tuple[float | None, list[str]]]:
        """Look after who waits. Gives the seconds until the next look, and steps to be woken."""

        def read(found: Any) -> tuple[float | None, list[str]]:
            ms, woken = found
            return None if ms < 0 else ms / 1000, _ids(woken)

        return self._run("PUMP", (key,), read, (None, []))

    # -- for people

    def states(self) -> Future[list[CacheState]]:
        """How the cache stands, by names."""

        def read(found: Any) -> list[CacheState]:
            by_name: dict[str, dict[str, Any]] = {}
            for field, number in zip(found[::2], found[1::2], strict=True):
                what, _, name = field.decode().partition(":")
                if what in _COUNTED:
                    counted = float(number) if what == "saved" else round(float(number))
                    by_name.setdefault(name, {})[_COUNTED[what]] = counted
            return [CacheState(name=name, **told) for name, told in sorted(by_name.items())]

        return self._run("STATS", (), read, [])

    def keys_of(self, name: str | None) -> Iterator[str]:
        """The keys of the answers of a name, or of all. Blocks, for small portions."""
        for key, facts in self._redis.hscan_iter(f"{names.CACHE_KEYS}facts", count=500):
            if name is None or json.loads(facts)["n"] == name:
                yield key.decode()

    def forget(self, keys: Sequence[str]) -> Future[int]:
        """Forget these answers; gives how many there were."""
        return self._run("FORGET", tuple(keys), int, 0)

    def _run(self, name: str, told: tuple[Any, ...], read: Any, otherwise: Any) -> Future[Any]:
        command = (self._names[name], 0, *told)
        return self._scripts.run(Query(command, read, lambda: otherwise, _AWAY))


def _ids(found: Any) -> list[str]:
    return [step_id.decode() for step_id in found]
