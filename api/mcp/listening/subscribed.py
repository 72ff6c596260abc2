"""Subscriptions of older clients, by their sessions, in Redis: any process tells them.

A session is a hash: of each address the mark that its client has been told of last, so that what
happens while nobody listens is told later. A session that has ended says so until it is forgotten.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from redis.exceptions import RedisError

from api.mcp.configured import ADDRESS_MAX
from api.problems import ProblemError
from api.services import Services
from app.access.permissions import Principal
from celery_agents.noted import noting

log = logging.getLogger(__name__)

#: Addresses of one session or stream.
URIS_MAX = 16
#: Seconds for which a session is remembered after it was last used.
_KEPT_S = 7 * 86_400
_ENDED = "ended"
_SCHEME = "://"
_REMEMBER = """
if ARGV[3] == '0' or redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
    redis.call('EXPIRE', KEYS[1], ARGV[4])
end
"""
_SUBSCRIBE = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
    local number = 0
    for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
        if string.find(name, ARGV[5], 1, true) then number = number + 1 end
    end
    if number >= tonumber(ARGV[3]) then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
"""


def _key(who: Principal, session: str) -> str:
    return f"agents:mcp:session:{who.id}:{session}"


async def subscribe(services: Services, who: Principal, session: str, uri: str, mark: str) -> None:
    """Have a session told of an address from now on.

    Raises:
        ProblemError: it is told of as many as one can be (429).
    """
    about = (uri, mark, URIS_MAX, _KEPT_S, _SCHEME)
    if not await services.redis.eval(_SUBSCRIBE, 1, _key(who, session), *about):
        raise _one_too_many()


def is_address(uri: str) -> bool:
    """Return whether a resource may have this address: other names are those of lists and marks."""
    return _SCHEME in uri and len(uri) <= ADDRESS_MAX


def check_room(known: Mapping[str, str], uri: str) -> None:
    """Refuse an address that is one too many beside others.

    Raises:
        ProblemError: it is (429).
    """
    if uri not in known and len(addresses(known)) >= URIS_MAX:
        raise _one_too_many()


def _one_too_many() -> ProblemError:
    return ProblemError(429, "too_many_subscriptions", f"A session has {URIS_MAX} at the most.")


async def unsubscribe(services: Services, who: Principal, session: str, uri: str) -> None:
    """Tell a session nothing more of an address."""
    await services.redis.hdel(_key(who, session), uri)


async def remember(
    services: Services, who: Principal, session: str, told: Mapping[str, str]
) -> None:
    """Write down the marks that a session was told of; of addresses those that it still has."""
    for name, mark in told.items():
        only = int(_SCHEME in name)
        await services.redis.eval(_REMEMBER, 1, _key(who, session), name, mark, only, _KEPT_S)


async def renew(services: Services, who: Principal, session: str) -> None:
    """Remember a session for as long again."""
    await services.redis.expire(_key(who, session), _KEPT_S)


async def marks(services: Services, who: Principal, session: str) -> dict[str, str]:
    """The marks that a session was told of, by name."""
    found = await services.redis.hgetall(_key(who, session))
    return {_text(name): _text(mark) for name, mark in found.items()}


def addresses(known: Mapping[str, str]) -> list[str]:
    """Those among the names of marks."""
    return [name for name in known if _SCHEME in name]


def is_over(known: Mapping[str, str]) -> bool:
    """Return whether these are the marks of a session that has ended."""
    return _ENDED in known


async def end(services: Services, who: Principal, session: str) -> None:
    """End a session: it is told of nothing more, and its messages are refused."""
    key, pipe = _key(who, session), services.redis.pipeline()
    pipe.delete(key)
    pipe.hset(key, _ENDED, "1")
    pipe.expire(key, _KEPT_S)
    await pipe.execute()


async def check_open(services: Services, who: Principal, session: str) -> None:
    """Refuse what comes with a session that has ended; while Redis is away, nothing.

    Raises:
        ProblemError: it has (404).
    """
    ended = False
    with noting(log, "mcp_ended", "Which sessions have ended is not known", RedisError, OSError):
        ended = bool(await services.redis.hexists(_key(who, session), _ENDED))
    if ended:
        raise ProblemError(404, "session_ended", "The session has ended: begin a new one.")


def _text(told: Any) -> str:
    return told.decode() if isinstance(told, bytes) else str(told)
