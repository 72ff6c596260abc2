"""``/tasks/{id}/events``: what a run tells while it works, as server-sent events.

The stream is a hint, the row is the truth: the end is told from the run's result or, where that is
gone, from the journal. An event's id is the cursor: ``Last-Event-ID`` goes on behind it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from starlette.responses import Response, StreamingResponse

from api.access import Parts
from api.problems import ProblemError
from api.runs import RunId, find, outcome_of_tree
from api.services import Services
from api.tasks import Reads, problems
from app.access.permissions import Principal
from celery_agents.contracts.events import END, RunEvent
from celery_agents.errors import InvalidPayloadError

router = APIRouter(tags=["tasks"])
#: An event as it is read; ``data`` is an event of the client as JSON.
_EVENT = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
}
#: Seconds of silence after which a comment is sent: proxies close what says nothing for a minute.
PING_S = 12.0
SSE_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@router.get(
    "/tasks/{run_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": _EVENT}}},
        **problems(404),
    },
)
async def events(
    run_id: RunId,
    services: Parts,
    who: Reads,
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,
    after: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """The events of a run that was asked for with ``stream``, and its end.

    Go on after an event by ``Last-Event-ID`` or ``after``. That nobody reads changes nothing.
    """
    await find(services, who, run_id)
    try:
        told = services.client.runs.handle(run_id).events(after=last_event_id or after)
    except InvalidPayloadError as error:
        raise ProblemError(422, error.kind, error.message) from None
    stream = _lines(services, who, run_id, told)
    return StreamingResponse(stream, media_type="text/event-stream", headers=SSE_HEADERS)


async def _lines(
    services: Services, who: Principal, run_id: str, events: Any
) -> AsyncIterator[str]:
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
    try:
        while True:
            task = task or asyncio.ensure_future(anext(coming))
            done, _ = await asyncio.wait({task}, timeout=PING_S)
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
            task.cancel()
            await asyncio.wait([task])
        await coming.aclose()


async def gone(services: Services, who: Principal, run_id: str) -> RunEvent[Any] | None:
    """The end of a run whose result is not in Redis any more, by its row; None: it is, or will be.

    A worker stores the result again of a row that is not settled.
    """
    if await services.endings.look(run_id) is not None:
        return None
    outcome = outcome_of_tree(await find(services, who, run_id))
    if outcome is None:
        return None
    return RunEvent(id=END, type="end", step_id=run_id, outcome=outcome)


def line(event: RunEvent[Any]) -> str:
    """An event as a browser reads it."""
    data = json.dumps(event.compact(), separators=(",", ":"))
    return f"id: {event.id}\nevent: {event.type}\ndata: {data}\n\n"
