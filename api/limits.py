"""Limits of keys: requests, and runs that are asked for, of one second.

They are counted in Redis, for all processes of the API. While that is away each process counts for
itself: a limit is then neither open nor shut.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from api.problems import ProblemError
from api.together import LoopTurn
from app.access.permissions import Principal
from celery_agents.noted import note

log = logging.getLogger(__name__)
_KEY = "agents:api:rate:"
#: Seconds that a count is kept: it is of one.
_KEPT_S = 3
#: Counted at once.
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class _Taken:
    name: str
    place: asyncio.Future[int]


class KeyRates:
    """Counts what keys with limits do; one without a limit costs nothing."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._turn = LoopTurn[_Taken](self._count, _refuse, _BATCH)
        self._own = Counter[str]()

    async def take(self, who: Principal, kind: str, most: int | None) -> None:
        """Count one.

        Raises:
            ProblemError: it is one too many (429).
        """
        await self.check(self.count(who, kind, most), kind, most)

    def count(self, who: Principal, kind: str, most: int | None) -> asyncio.Future[int] | None:
        """Begin to count one; those of the same turn of the loop go together."""
        if most is None:
            return None
        name = f"{_KEY}{who.id}:{kind}:{int(time.time())}"
        taken = _Taken(name, asyncio.get_running_loop().create_future())
        self._turn.add(taken)
        return taken.place

    async def check(self, place: asyncio.Future[int] | None, kind: str, most: int | None) -> None:
        """Refuse one that was counted, and is one too many.

        Raises:
            ProblemError: it is (429).
        """
        if place is not None and most is not None and await place > most:
            text = f"This key may make {most} {kind} a second."
            headers = {"Retry-After": "1", "RateLimit": f'"{kind}";r=0;t=1'}
            raise ProblemError(429, "rate_limited", text, headers)

    async def _count(self, batch: list[_Taken]) -> None:
        """Tell each of a batch the how-manieth of its second it is."""
        asked = Counter(taken.name for taken in batch)
        try:
            before = await self._in_redis(asked)
        except (RedisError, OSError) as error:
            note(log, "api_rates", "Limits are counted by each process", error=error)
            before = self._here(asked)
        for taken in batch:
            before[taken.name] += 1
            if not taken.place.done():
                taken.place.set_result(before[taken.name])

    def _here(self, asked: Counter[str]) -> dict[str, int]:
        """Count in this process, where other seconds are forgotten; returns the counts before."""
        seconds = {name.rpartition(":")[2] for name in asked}
        kept = {n: c for n, c in self._own.items() if n.rpartition(":")[2] in seconds}
        self._own = Counter(kept)
        before = {name: self._own[name] for name in asked}
        self._own.update(asked)
        return before

    async def _in_redis(self, asked: Counter[str]) -> dict[str, int]:
        """Count in Redis; returns the counts before."""
        pipe = self._redis.pipeline(transaction=False)
        for name, number in asked.items():
            pipe.incrby(name, number)
            pipe.expire(name, _KEPT_S)
        totals = (await pipe.execute())[::2]
        return {n: total - asked[n] for n, total in zip(asked, totals, strict=True)}


def _refuse(taken: _Taken, error: Exception) -> None:
    if not taken.place.done():
        taken.place.set_exception(error)
