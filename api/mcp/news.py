"""News of a run while its call is held: how far it is, and what its tool says of itself."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, get_args

from mcp import types
from redis.exceptions import RedisError

from api.mcp.callers import Caller
from api.mcp.sessions import session_of
from api.mcp.states import CORE
from app.concurrency.cancelling import let_go
from celery_agents.errors import AgentsError
from celery_agents.noted import noting
from celery_agents.values import mended

log = logging.getLogger(__name__)

#: From the least to the worst.
LEVELS: tuple[str, ...] = get_args(types.LoggingLevel)
_LEVEL_META = "io.modelcontextprotocol/logLevel"
#: Seconds for which a session's level is known after it was last set; and for which news are read
#: on after a run has ended.
_KEPT_S, _REST_S = 86_400, 2.0
#: Of a number that is told: no NaN, and no integer that is no float.
_MOST = 1e300


async def set_level(ctx: Any, caller: Caller, level: str) -> None:
    """Note from which level on the sessions's client is told; without a session, nothing."""
    if (key := _key(ctx, caller)) is not None:
        await caller.services.redis.set(key, level, ex=_KEPT_S)


async def level_of(ctx: Any, caller: Caller) -> str | None:
    """The level from which on the sender of a request is told; None: of nothing."""
    if ctx.protocol_version > CORE:
        told = ((ctx.params or {}).get("_meta") or {}).get(_LEVEL_META)
        return told if told in LEVELS else None
    if (key := _key(ctx, caller)) is None:
        return None
    found = await caller.services.redis.get(key)
    told = found.decode() if isinstance(found, bytes) else found
    return told if told in LEVELS else None


def _key(ctx: Any, caller: Caller) -> str | None:
    session = None if ctx.request is None else session_of(ctx.request.headers)
    return None if session is None else f"agents:mcp:level:{caller.who.id}:{session}"


class RunNews:
    """Tells the sender of a call what its run tells; ``level`` is its own."""

    def __init__(self, ctx: Any, caller: Caller, run_id: str, level: str | None) -> None:
        self._ctx, self._level = ctx, level
        self._events = caller.services.client.runs.handle(run_id).events()
        self._task = asyncio.create_task(self._read())

    async def close(self) -> None:
        """End, with what is there already."""
        try:
            await asyncio.wait({self._task}, timeout=_REST_S)
        finally:  # also where its client has gone: each wait ends at once then
            await let_go(self._task)

    async def _read(self) -> None:
        text = "Progress of a call is not told"
        with noting(log, "mcp_news", text, AgentsError, RedisError, OSError):
            async for event in self._events:
                if event.type == "end":
                    return
                if event.type == "progress":
                    await self._tell(mended(dict(event.data)))

    async def _tell(self, told: dict[str, Any]) -> None:
        done, total, words = told.get("progress"), told.get("total"), told.get("message")
        if _is_number(done):
            about = (
                total if _is_number(total) else None,
                words if isinstance(words, str) else None,
            )
            await self._ctx.session.report_progress(done, *about)
        level = told.get("level")
        if level in LEVELS and self._level and LEVELS.index(level) >= LEVELS.index(self._level):
            params = types.LoggingMessageNotificationParams(level=level, data=words, logger="tool")
            note = types.LoggingMessageNotification(params=params)
            await self._ctx.session.send_notification(note, related_request_id=self._ctx.request_id)


def _is_number(told: Any) -> bool:
    return isinstance(told, int | float) and not isinstance(told, bool) and abs(told) <= _MOST
