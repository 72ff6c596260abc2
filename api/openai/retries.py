"""Retries of SDKs, which send no key: each attaches to the run that its first try asked for.

They count their tries in a header. A first try leaves the id of its run under what was asked, for
ten minutes; a later one takes the newest there and puts it at the other end, so that of several
equal requests that were cut at the same time each gets a run of its own.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from app.access.permissions import Principal
from celery_agents.noted import noting
from celery_agents.sealing import Seals
from celery_agents.wire.ids import new_id

log = logging.getLogger(__name__)

#: The header of OpenAI's SDKs, and of others of their maker.
COUNT = "x-stainless-retry-count"
#: Seconds for which a run is remembered: SDKs wait ten minutes for an answer, and try again soon.
KEPT_S = 600
#: Equal requests of which the runs are remembered.
_MOST = 64
_KEY = "agents:api:tries:"


@dataclass(frozen=True, slots=True)
class Tried:
    """A request whose sender counts its tries, and the seals that the API has."""

    tenant: str
    path: str
    body: bytes
    who: Principal
    seals: Seals | None = None

    @property
    def keys(self) -> list[str]:
        """The names under which runs of it may be remembered, the first one for new ones.

        Where values are encrypted they are digests under each of its keys: whoever reads Redis has
        nothing to compare a guess with.
        """
        body = hashlib.sha256(self.body).hexdigest()
        told = f"{self.tenant}\0{self.who.id}\0{self.path}\0{body}"
        if self.seals is not None:
            return [f"{_KEY}{mark}" for mark in self.seals.marks(told)]
        return [f"{_KEY}{hashlib.sha256(told.encode()).hexdigest()}"]


async def run_of(redis: Any, tried: Tried, count: str | None) -> tuple[str | None, bool]:
    """The id for the run of a request, and whether an earlier try asked for it already.

    None: any id will do, since its sender does not count its tries. While Redis is away no run is
    remembered.
    """
    if count is None:
        return None, False
    found: tuple[str | None, bool] = (None, False)
    text = "A try of an SDK is not known again: Redis does not answer"
    with noting(log, "api_tries", text, RedisError, OSError):
        known = None if count == "0" else await _known(redis, tried.keys)
        found = await _first(redis, tried.keys[0]) if known is None else (known, True)
    return found  # noqa: RET504 - what is noted above goes on here


async def _known(redis: Any, keys: Sequence[str]) -> str | None:
    for key in keys:
        if (known := await redis.rpoplpush(key, key)) is not None:
            return str(known.decode())
    return None


async def _first(redis: Any, key: str) -> tuple[str, bool]:
    made = new_id()
    pipe = redis.pipeline(transaction=False)
    pipe.rpush(key, made)
    pipe.ltrim(key, -_MOST, -1)
    pipe.expire(key, KEPT_S)
    await pipe.execute()
    return made, False


async def forget(redis: Any, tried: Tried, run_id: str) -> None:
    """Forget the id of a first try that was refused: what comes next is a first one, too."""
    with noting(log, "api_tries", "A refused try is remembered", RedisError, OSError):
        for key in tried.keys:
            await redis.lrem(key, 1, run_id)
