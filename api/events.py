"""``/tasks/{id}/events``: what a run tells while it works, as server-sent events.

The stream is a hint, the row is the truth: the end is told from the run's result or, where that is
gone, from the journal. An event's id is the cursor: ``Last-Event-ID`` goes on behind it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from redis.exceptions import RedisError
from starlette.responses import Response, StreamingResponse

from api.access import Parts, identify, presented
from api.principals import ReadsRuns
from api.problems import ProblemError
from api.runs import RunId, find, outcome_of, outcome_of_tree
from api.services import Services
from api.tasks import problems
from app.access.permissions import Principal
from app.concurrency.cancelling import let_go
from celery_agents.contracts.events import END, RunEvent
from celery_agents.contracts.outcome import Outcome
from celery_agents.errors import AgentsError, InvalidPayloadError
from celery_agents.noted import note

log = logging.getLogger(__name__)
router = APIRouter(tags=["tasks"])
#: An event as it is read; ``data`` is an event of the client as JSON.
EVENT = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
}
#: Seconds of silence after which a comment is sent: proxies close what says nothing for a minute.
PING_S = 12.0
#: Seconds between two looks whether a key holds: with the time for which one is known, less than
#: five.
LOOK_S = 0.5
#: Seconds after its end in which a run's result may not be stored yet.
STORED_S = 5.0
SSE_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@router.get(
    "/tasks/{run_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": EVENT}}},
        **problems(404),
    },
)
async def events(
    *,
    run_id: RunId,
    services: Parts,
    who: ReadsRuns,
    request: Request,
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,
    after: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """The events of a run that was asked for with ``stream``, and its end.

    Go on after an event by ``Last-Event-ID`` or ``after``. That nobody reads changes nothing. A
    key that holds no longer ends it, with an event ``error``.
    """
    await find(services, who, run_id)
    try:
        told = services.client.runs.handle(run_id).events(after=last_event_id or after)
    except InvalidPayloadError as error:
        raise ProblemError(422, error.kind, error.message) from None
    stream = held(request, services, who, _lines(services, who, run_id, told), _refused)
    return StreamingResponse(stream, media_type="text/event-stream", headers=SSE_HEADERS)


def _refused(error: ProblemError) -> str:
    told = {"kind": error.kind, "message": error.detail}
    return f"event: error\ndata: {json.dumps(told, separators=(',', ':'))}\n\n"


async def _lines(
    services: Services, who: Principal, run_id: str, events: Any
) -> AsyncGenerator[str, None]:
    """The stream; it begins at once, so that nobody in between takes it for dead."""
    yield ": begins\n\n"
    async for event in follow(services, who, run_id, events):
        yield ": ping\n\n" if event is None else line(event)


async def follow(
    services: Services, who: Principal, run_id: str, events: Any
) -> AsyncIterator[RunEvent[Any] | None]:
    """The events of a run to its end, also where its result is gone; None: it is silent a while."""
    if (end := await gone(services, who, run_id)) is not None:
        yield end
        return
    coming = aiter(events)
    task: asyncio.Task[Any] | None = None
    pause_s = STORED_S
    try:
        while True:
            task = task or asyncio.ensure_future(anext(coming))
            done, _ = await asyncio.wait({task}, timeout=pause_s)
            pause_s = PING_S
            if not done:
                yield None
                if (end := await gone(services, who, run_id)) is not None:
                    yield end
                    return
                continue
            event: RunEvent[Any] = task.result()
            task = None
            yield event
            if event.type == "end":
                return
    finally:
        if task is not None:
            await let_go(task)
        await coming.aclose()


async def gone(services: Services, who: Principal, run_id: str) -> RunEvent[Any] | None:
    """The end of a run whose result is not in Redis any more, by its row; None: it is, or will be.

    A worker stores the result again of a row that is not settled.
    """
    try:
        if await services.endings.look(run_id) is not None:
            return None
    except (RedisError, OSError) as error:
        note(log, "api_look", "Ends of runs are not seen", error=error)
        return None
    tree = await find(services, who, run_id)
    outcome = outcome_of_tree(tree)
    ended = tree.get("finished_at")
    if outcome is None or (ended is not None and time.time() - ended < STORED_S):
        return None  # its result is stored after its row has ended, and behind its last events
    return RunEvent(id=END, type="end", step_id=run_id, outcome=outcome)


async def end_within(
    services: Services, who: Principal, run_id: str, seconds: float, *, look: bool
) -> Outcome | None:
    """How a run ended, once it has; None: it has not within so many seconds.

    ``look``: it may have ended long ago, so that its result is gone.
    """
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if look and (end := await gone(services, who, run_id)) is not None:
            return end.outcome
        meta = await services.endings.wait(run_id, min(left, PING_S))
        if meta is not None:
            return outcome_of(meta)
        look = True
    return None


def line(event: RunEvent[Any]) -> str:
    """An event as a browser reads it."""
    data = json.dumps(event.compact(), separators=(",", ":"))
    return f"id: {event.id}\nevent: {event.type}\ndata: {data}\n\n"


async def held(
    request: Request,
    services: Services,
    who: Principal,
    lines: AsyncGenerator[str, None],
    last: Callable[[ProblemError], str],
    *,
    resumable: bool = True,
) -> AsyncIterator[str]:
    """The lines of a stream for as long as its key or token holds; then the ``last`` one.

    ``resumable``: whoever reads it goes on behind its last event, so it ends with the process.
    """
    coming: asyncio.Task[str | None] | None = None
    looked_at = time.monotonic()
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(lines, None))
            await asyncio.wait({coming}, timeout=LOOK_S)
            if time.monotonic() >= looked_at + LOOK_S:
                looked_at = time.monotonic()
                if (why := await refusal(request, services, who)) is not None:
                    yield last(why)
                    return
            if coming.done():
                line, coming = coming.result(), None
                if line is None:
                    return
                yield line
            if resumable and services.under_way.leaving:
                return
    finally:
        if coming is not None:
            await let_go(coming)
        await lines.aclose()


async def refusal(request: Request, services: Services, who: Principal) -> ProblemError | None:
    """Why whoever waits is sent away; None: the key or token holds, or the journal is away."""
    try:
        found = await identify(request, services, await presented(request, services))
    except ProblemError as error:
        text = "The key or token of this stream holds no longer; what it tells of goes on."
        return ProblemError(error.status, error.kind, text)
    except AgentsError as error:
        note(log, "api_held", "Whether the keys of streams hold is not known", error=error)
        return None
    return None if found.id == who.id else ProblemError(401, "unauthorized", "It is another one's.")
