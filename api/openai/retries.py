"""Retries of SDKs, which send no key: each attaches to the run that its first try asked for.

They count their tries in a header. A first try leaves the id of its run under what was asked, for
ten minutes; a later one takes the newest there and puts it at the other end, so that of several
equal requests that were cut at the same time each gets a run of its own.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Any

from redis.exceptions import RedisError

from app.access.permissions import Principal
from celery_agents.noted import noting
from celery_agents.wire.ids import new_id

log = logging.getLogger(__name__)

#: The header of OpenAI's SDKs, and of others of their maker.
COUNT = "x-stainless-retry-count"
#: Seconds for which a run is remembered: SDKs wait ten minutes for an answer, and try again soon.
KEPT_S = 600
#: Equal requests of which the runs are remembered.
_MOST = 64
_KEY = "agents:api:tries:"


async def run_of(
    redis: Any, who: Principal, asked: tuple[str, str, bytes], count: str | None
) -> tuple[str | None, bool]:
    """The id for the run of a request, and whether an earlier try asked for it already.

    None: any id will do, since its sender does not count its tries. While Redis is away no run is
    remembered. ``asked``: the tenant, the path and the body.
    """
    if count is None:
        return None, False
    key = _key(who, asked)
    found: tuple[str | None, bool] = (None, False)
    text = "A try of an SDK is not known again: Redis does not answer"
    with noting(log, "api_tries", text, RedisError, OSError):
        known = None if count == "0" else await redis.rpoplpush(key, key)
        found = await _first(redis, key) if known is None else (known.decode(), True)
    return found  # noqa: RET504 - what is noted above goes on here


async def _first(redis: Any, key: str) -> tuple[str, bool]:
    made = new_id()
    pipe = redis.pipeline(transaction=False)
    pipe.rpush(key, made)
    pipe.ltrim(key, -_MOST, -1)
    pipe.expire(key, KEPT_S)
    await pipe.execute()
    return made, False


async def forget(redis: Any, who: Principal, asked: tuple[str, str, bytes], run_id: str) -> None:
    """Forget the id of a first try that was refused: what comes next is a first one, too."""
    with noting(log, "api_tries", "A refused try is remembered", RedisError, OSError):
        await redis.lrem(_key(who, asked), 1, run_id)


def _key(who: Principal, asked: tuple[str, str, bytes]) -> str:
    tenant, path, body = asked
    digest = hashlib.sha256(f"{tenant}\0{who.id}\0{path}\0".encode() + body).hexdigest()
    return f"{_KEY}{digest}"
