"""Subscriptions of older clients, by their sessions, in Redis: any process tells them.

A session is a hash: of each address the mark that its client has been told of last, so that what
happens while nobody listens is told later. A session that has ended says so until it is forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.problems import ProblemError
from api.services import Services
from app.access.permissions import Principal

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


def _key(who: Principal, session: str) -> str:
    return f"agents:mcp:session:{who.id}:{session}"


async def subscribe(services: Services, who: Principal, session: str, uri: str, mark: str) -> None:
    """Have a session told of an address from now on.

    Raises:
        ProblemError: it is told of as many as one can be (429).
    """
    check_room(await marks(services, who, session), uri)
    await _write(services, who, session, {uri: mark})


def check_room(known: Mapping[str, str], uri: str) -> None:
    """Refuse an address that is one too many beside others.

    Raises:
        ProblemError: it is (429).
    """
    if uri not in known and len(addresses(known)) >= URIS_MAX:
        raise ProblemError(429, "too_many_subscriptions", f"A session has {URIS_MAX} at the most.")


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
    await services.redis.delete(_key(who, session))
    await _write(services, who, session, {_ENDED: "1"})


async def check_open(services: Services, who: Principal, session: str) -> None:
    """Refuse what comes with a session that has ended.

    Raises:
        ProblemError: it has (404).
    """
    if await services.redis.hexists(_key(who, session), _ENDED):
        raise ProblemError(404, "session_ended", "The session has ended: begin a new one.")


async def _write(services: Services, who: Principal, session: str, told: Mapping[str, str]) -> None:
    key = _key(who, session)
    await services.redis.hset(key, mapping=dict(told))
    await services.redis.expire(key, _KEPT_S)


def _text(told: Any) -> str:
    return told.decode() if isinstance(told, bytes) else str(told)
