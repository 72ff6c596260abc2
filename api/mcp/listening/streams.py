"""Streams on which clients are told of changes.

One of 2026-07-28 asks for its own (``subscriptions/listen``); of an older one the session says what
it is told of, on ``GET /mcp`` or on its pipe. Each stream looks by itself, with its principal's
eyes, and ends with its key.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Any

from mcp import types
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY as ID
from redis.exceptions import RedisError

from api.events import PING_S
from api.mcp.callers import Caller, check_may
from api.mcp.configured import ADDRESS_MAX, Configured
from api.mcp.holding import HeldCalls
from api.mcp.listening import subscribed
from api.mcp.listening.marks import LISTS, LOOK_S, PROMPTS, RESOURCES, TOOLS, Watch
from api.mcp.listening.tasks import TaskWatch, notification_of, wanted
from api.mcp.sessions import session_of
from api.problems import ProblemError, busy
from app.access.permissions import Permission
from app.concurrency.cancelling import let_go
from celery_agents.errors import AgentsError
from celery_agents.noted import note, noting

log = logging.getLogger(__name__)

#: Streams that one principal follows in one process at a time.
STREAMS_MAX = 16
_TOO_MANY = f"This key follows {STREAMS_MAX} streams already: end one."


class Pipe:
    """The one client at the other end of a pipe, of an older version, and the news for it."""

    def __init__(self, caller: Callable[[Any], Any], configured: Callable[[], Configured]) -> None:
        self._caller, self._configured = caller, configured
        self._marks: dict[str, str] = {}
        self._telling: asyncio.Task[None] | None = None

    def add(self, uri: str, mark: str) -> None:
        """Tell of an address.

        Raises:
            ProblemError: it is one too many (429).
        """
        subscribed.check_room(self._marks, uri)
        self._marks[uri] = mark

    def drop(self, uri: str) -> None:
        """Tell nothing more of one."""
        self._marks.pop(uri, None)

    def follow(self, ctx: Any) -> None:
        """Begin to tell, with the first message behind the handshake."""
        if self._telling is None:
            self._telling = asyncio.create_task(self._tell(ctx))

    async def close(self) -> None:
        """Tell nothing more."""
        if self._telling is not None:
            await let_go(self._telling)

    async def _tell(self, ctx: Any) -> None:
        """Tell until the key is over; again after what passes, as a journal that was away."""
        while True:
            try:
                return await self._tell_on(ctx)
            except (AgentsError, ProblemError, RedisError, OSError) as error:
                note(log, "mcp_told", "The client of a pipe is not told", error=error)
                if isinstance(error, ProblemError) and error.status == HTTPStatus.UNAUTHORIZED:
                    return None
            await asyncio.sleep(LOOK_S)

    async def _tell_on(self, ctx: Any) -> None:
        caller: Caller = await self._caller(ctx)
        watch = Watch(caller, self._configured, {})
        while await caller.refusal() is None:
            watch.known = dict(self._marks)
            for name in await watch.look(LISTS, subscribed.addresses(self._marks)):
                await ctx.session.send_notification(notification(name))
            gone = {name for name in subscribed.addresses(watch.known) if name not in self._marks}
            self._marks |= {n: mark for n, mark in watch.known.items() if n not in gone}
            await asyncio.sleep(LOOK_S)


class Listening:
    """Handlers of messages that subscribe, and the streams of one process."""

    def __init__(self, caller: Callable[[Any], Any], configured: Callable[[], Configured]) -> None:
        self._caller, self._configured = caller, configured
        self.streams = HeldCalls(STREAMS_MAX, _TOO_MANY)
        self.pipe = Pipe(caller, configured)

    async def listen(self, ctx: Any, params: Any) -> types.SubscriptionsListenResult:
        """Tell a client of 2026-07-28 of what it asked for, as long as it listens.

        Raises:
            MCPError: its message has no id.
            ProblemError: its key may not, follows too many, or holds no longer.
        """
        if ctx.request_id is None:
            raise MCPError(types.INVALID_REQUEST, "It is told by the id of the request.")
        caller = await self._caller(ctx)
        check_may(caller, Permission.AGENTS_READ)
        lists, uris = _asked(params.notifications)
        about = {ID: ctx.request_id}
        with self.streams.place(caller.who.id):
            watch = Watch(caller, self._configured, {})
            await watch.look(lists, uris)
            if len(watch.known) < len(lists) + len(uris):  # what changes now would not be told
                raise busy("What there is cannot be seen now: listen again.")
            tasks = TaskWatch(caller, self._configured)
            told = await tasks.begin(wanted(ctx))
            await _send(ctx, _acknowledged(lists, uris, told, about))
            while (why := await caller.refusal()) is None:
                if caller.services.under_way.leaving:
                    return types.SubscriptionsListenResult(_meta=about)
                await asyncio.sleep(LOOK_S)
                for name in await watch.look(lists, uris):
                    await _send(ctx, notification(name, about))
                for task in await tasks.changed():
                    await _send(ctx, notification_of(task, about))
            raise why

    async def subscribe(self, ctx: Any, params: Any) -> types.EmptyResult:
        """Have the session of an older client told of a resource.

        Raises:
            MCPError: it has no session.
            ProblemError: it may not be read, or it is one too many.
        """
        caller, uri = await self._of_session(ctx, params)
        mark = await Watch(caller, self._configured, {}).mark(uri)
        if ctx.request is None:
            self.pipe.add(uri, mark)
        else:
            session = _session(ctx)
            await subscribed.subscribe(caller.services, caller.who, session, uri, mark)
        return types.EmptyResult()

    async def unsubscribe(self, ctx: Any, params: Any) -> types.EmptyResult:
        """Tell it nothing more of one; raises as ``subscribe``."""
        caller, uri = await self._of_session(ctx, params)
        if ctx.request is None:
            self.pipe.drop(uri)
        else:
            await subscribed.unsubscribe(caller.services, caller.who, _session(ctx), uri)
        return types.EmptyResult()

    def told(self, caller: Caller, session: str) -> AsyncGenerator[str, None]:
        """The lines of a session's stream, until the session ends."""
        return _told_session(caller, self._configured, session)

    async def _of_session(self, ctx: Any, params: Any) -> tuple[Caller, str]:
        caller, uri = await self._caller(ctx), str(params.uri)
        check_may(caller, Permission.AGENTS_READ)
        if not subscribed.is_address(uri):
            text = f"An address is like scheme://name, of {ADDRESS_MAX} characters at the most."
            raise MCPError(types.INVALID_PARAMS, text)
        if ctx.request is not None:
            _session(ctx)
        return caller, uri


def _session(ctx: Any) -> str:
    found = session_of(ctx.request.headers)
    if found is None:
        raise MCPError(types.INVALID_REQUEST, "Subscriptions are a session's: Mcp-Session-Id.")
    return found


async def _told_session(
    caller: Caller, configured: Callable[[], Configured], session: str
) -> AsyncGenerator[str, None]:
    yield ": begins\n\n"
    services, who = caller.services, caller.who
    watch, said_at = Watch(caller, configured, {}), time.monotonic()
    unsaved: dict[str, str] = {}  # marks that were told, while Redis does not take them
    while True:
        changed: list[str] = []
        with _away():
            known = await subscribed.marks(services, who, session)
            if subscribed.is_over(known):
                return
            watch.known = {**known, **unsaved}
            changed = await watch.look(LISTS, subscribed.addresses(known))
            unsaved = {n: mark for n, mark in watch.known.items() if known.get(n) != mark}
        for name in changed:
            yield _line(notification(name))
            said_at = time.monotonic()
        with _away():
            await subscribed.remember(services, who, session, unsaved)
            unsaved = {}
        if time.monotonic() >= said_at + PING_S:
            said_at = time.monotonic()
            yield ": ping\n\n"
            with _away():
                await subscribed.renew(services, who, session)
        await asyncio.sleep(LOOK_S)


def _away() -> AbstractContextManager[None]:
    """While Redis is away a stream is silent; what happens meanwhile is told afterwards."""
    return noting(log, "mcp_session", "A session is not told", RedisError, OSError)


def told_lists(capabilities: dict[str, Any]) -> dict[str, Any]:
    """The capabilities of a session, which is told when its lists change."""
    changed = {n: {**capabilities[n], "listChanged": True} for n in LISTS if n in capabilities}
    return {**capabilities, **changed}


def notification(name: str, about: dict[str, Any] | None = None) -> Any:
    """The notification that a list, or the resource of an address, has changed."""
    params = types.NotificationParams(_meta=about)
    match name:
        case "tools":
            return types.ToolListChangedNotification(params=params)
        case "prompts":
            return types.PromptListChangedNotification(params=params)
        case "resources":
            return types.ResourceListChangedNotification(params=params)
    updated = types.ResourceUpdatedNotificationParams(uri=name, _meta=about)
    return types.ResourceUpdatedNotification(params=updated)


def _asked(wanted: types.SubscriptionFilter) -> tuple[list[str], list[str]]:
    """The lists and addresses that are told of: of the latter no more than a stream has."""
    flags = {
        TOOLS: wanted.tools_list_changed,
        PROMPTS: wanted.prompts_list_changed,
        RESOURCES: wanted.resources_list_changed,
    }
    fits = filter(subscribed.is_address, wanted.resource_subscriptions or ())
    uris = [*dict.fromkeys(fits)][: subscribed.URIS_MAX]
    return [name for name in LISTS if flags[name]], uris


def _acknowledged(
    lists: Iterable[str], uris: list[str], tasks: list[str], about: dict[str, Any]
) -> Any:
    told: dict[str, Any] = {f"{name}_list_changed": True for name in lists}
    if uris:
        told["resource_subscriptions"] = uris
    if tasks:
        told["taskIds"] = tasks
    params = types.SubscriptionsAcknowledgedNotificationParams(
        notifications=types.SubscriptionFilter(**told), _meta=about
    )
    return types.SubscriptionsAcknowledgedNotification(params=params)


async def _send(ctx: Any, note: Any) -> None:
    await ctx.session.send_notification(note, related_request_id=ctx.request_id)


def _line(note: Any) -> str:
    told = {"jsonrpc": "2.0", **note.model_dump(by_alias=True, mode="json", exclude_none=True)}
    return f"event: message\ndata: {json.dumps(told)}\n\n"
