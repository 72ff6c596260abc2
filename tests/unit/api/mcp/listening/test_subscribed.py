"""Subscriptions of sessions stand in Redis: so many of each, and for a bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from redis.asyncio import Redis

from api.mcp.listening import subscribed
from api.mcp.listening.subscribed import URIS_MAX
from api.problems import ProblemError
from app.access.permissions import Principal, Role

WHO = Principal(id="k", role=Role.USER)
SESSION = "-" + "0" * 32


def with_redis(url: str, work: Callable[[Any], Awaitable[None]]) -> None:
    async def scene() -> None:
        redis = Redis.from_url(url)
        try:
            await work(SimpleNamespace(redis=redis))
        finally:
            await redis.aclose()

    asyncio.run(scene())


async def expires(services: Any) -> bool:
    keys = [key async for key in services.redis.scan_iter()]
    return len(keys) == 1 and 0 < await services.redis.ttl(keys[0]) <= 7 * 86_400


def test_a_session_has_so_many_though_all_are_asked_for_at_once(redis_url: str) -> None:
    async def ask(services: Any) -> None:
        asked = [
            subscribed.subscribe(services, WHO, SESSION, f"docs://{n}", "")
            for n in range(3 * URIS_MAX)
        ]
        told = await asyncio.gather(*asked, return_exceptions=True)
        refused = [error for error in told if error is not None]
        assert {getattr(error, "status", error) for error in refused} == {429}
        assert len(refused) == 2 * URIS_MAX
        known = await subscribed.marks(services, WHO, SESSION)
        assert len(subscribed.addresses(known)) == URIS_MAX
        await subscribed.subscribe(services, WHO, SESSION, next(iter(known)), "another")  # it is in
        assert await expires(services)

    with_redis(redis_url, ask)


def test_a_session_that_has_ended_says_so_for_a_bounded_time(redis_url: str) -> None:
    async def ask(services: Any) -> None:
        await subscribed.subscribe(services, WHO, SESSION, "docs://one", "")
        await subscribed.check_open(services, WHO, SESSION)
        await subscribed.end(services, WHO, SESSION)
        assert await subscribed.marks(services, WHO, SESSION) == {"ended": "1"}
        with pytest.raises(ProblemError) as over:
            await subscribed.check_open(services, WHO, SESSION)
        assert over.value.status == 404
        assert await expires(services)

    with_redis(redis_url, ask)


def test_while_redis_is_away_no_message_of_a_session_is_refused() -> None:
    async def ask(services: Any) -> None:
        await subscribed.check_open(services, WHO, SESSION)

    with_redis("redis://127.0.0.1:1/0", ask)
