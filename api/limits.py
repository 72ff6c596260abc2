"""Limits of keys: requests, and runs that are asked for, of one second.

They are counted in Redis, for all processes of the API. While that is away each process counts for
itself: a limit is then neither open nor shut.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from redis.exceptions import RedisError

from api.problems import ProblemError
from app.access.permissions import Principal
from celery_agents.noted import note

log = logging.getLogger(__name__)
_KEY = "agents:api:rate:"
#: Seconds that a count is kept: it is of one.
_KEPT_S = 3


class KeyRates:
    """Counts what keys with limits do; one without a limit costs nothing."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._own: dict[str, int] = {}
        self._second = 0

    async def take(self, who: Principal, kind: str, most: int | None) -> None:
        """Count one.

        Raises:
            ProblemError: it is one too many (429).
        """
        if most is None:
            return
        now = time.time()
        name = f"{_KEY}{who.id}:{kind}:{int(now)}"
        try:
            pipe = self._redis.pipeline(transaction=False)
            pipe.incr(name)
            pipe.expire(name, _KEPT_S)
            count = (await pipe.execute())[0]
        except (RedisError, OSError) as error:
            note(log, "api_rates", "Limits are counted by each process", error=error)
            count = self._count(name, int(now))
        if count > most:
            text = f"This key may make {most} {kind} a second."
            headers = {"Retry-After": "1", "RateLimit": f'"{kind}";r=0;t=1'}
            raise ProblemError(429, "rate_limited", text, headers)

    def _count(self, name: str, second: int) -> int:
        if second != self._second:
            self._own, self._second = {}, second
        self._own[name] = self._own.get(name, 0) + 1
        return self._own[name]
