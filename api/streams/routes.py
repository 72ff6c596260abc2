"""``/streams``: events, appended and read; followed as server-sent events."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from api.access import Parts
from api.events import EVENT, PING_S, SSE_HEADERS, held
from api.operations import Limit, OfTenant
from api.principals import DeletesStreams, ReadsStreams, WritesStreams
from api.problems import JsonResponse, ProblemError, not_found
from api.services import Services
from api.tasks import problems, tenant_for
from api.views import ListView
from celery_agents.contracts.base import PLACES_MAX, Contract, Name, Tenant, Whole
from celery_agents.contracts.flows.entries import APPENDED_MAX, StreamEvent, prefix_of, stream_of
from celery_agents.contracts.flows.topics import TOPIC
from celery_agents.contracts.teams.swarm import STREAM as SWARMS
from celery_agents.errors import (
    AgentsError,
    InvalidPayloadError,
    PermanentError,
    StreamConflictError,
)
from celery_agents.noted import note

log = logging.getLogger(__name__)
router = APIRouter(tags=["streams"])
StreamName = Annotated[Name, Path(description="The name of a stream; it may have slashes.")]
After = Annotated[int, Query(ge=-1, le=PLACES_MAX)]
Following = Annotated[bool, Query(description="As server-sent events, those to come too.")]
_EVENTS: Any = {200: {"content": {"text/event-stream": {"schema": EVENT}}}}
#: Seconds between two looks of one who follows.
LOOK_S = 1.0
_DELETED = "The stream was deleted while it was followed."
#: Entries of a page of one who follows.
_PAGE = 500


@router.get("/streams", response_model=ListView, responses=problems())
async def streams(
    services: Parts,
    who: ReadsStreams,
    of: Annotated[str, Query(max_length=180)] = "",
    tenant: OfTenant = None,
    limit: Limit = 100,
) -> Response:
    """Streams whose names begin so, with how many events each has; none of the service's own."""
    about = (tenant_for(who, tenant), prefix_of(of), limit)
    return JsonResponse({"items": await services.read(services.streams.named, *about)})


def written_of(value: object) -> str:
    """The name of a stream that whoever has a key may write, or delete.

    Raises:
        InvalidPayloadError: it is none; or the service writes it, or clients do, as those of who is
            in a swarm and of what swarms are told.
    """
    name = stream_of(value)
    if name.startswith((SWARMS, TOPIC + SWARMS)):
        raise InvalidPayloadError(f"stream: {name} is the service's own; choose another name.")
    return name


class AppendBody(Contract):
    """Events that are to be added to a stream, all of them or none."""

    events: Annotated[list[StreamEvent], Field(min_length=1, max_length=APPENDED_MAX)]
    #: The number of events that the stream is to have; where it has another one: 409.
    expected: Annotated[int, Field(ge=0, le=PLACES_MAX), Whole] | None = None
    #: Whose it is: for those who may see all tenants.
    tenant: Tenant | None = None


@router.post("/streams/{name:path}", status_code=201, responses=problems(400, 409, 413))
async def append(
    name: StreamName, body: AppendBody, services: Parts, who: WritesStreams
) -> Response:
    """Add events to the end of a stream; their places. A worker does it.

    Of one kind and ``key`` a stream has one event: said again it is the same.
    """
    where, tenant = written_of(name), tenant_for(who, body.tenant)
    for event in body.events:
        event.refuse_large(services.settings.payload_limit_bytes)
    work = services.client.events.append
    try:
        about: Any = {"expected": body.expected, "tenant": tenant}
        places = await services.ask(who, work, where, body.events, **about)
    except StreamConflictError as error:
        raise ProblemError(409, error.kind, error.message) from None
    return JsonResponse({"stream": where, "places": places}, 201)


@router.get("/streams/{name:path}", response_model=ListView, responses=problems() | _EVENTS)
async def read(
    *,
    name: StreamName,
    services: Parts,
    who: ReadsStreams,
    request: Request,
    after: After = -1,
    follow: Following = False,
    limit: Limit = 100,
    tenant: OfTenant = None,
    last_event_id: Annotated[str | None, Header(max_length=20, pattern=r"^\d{1,10}$")] = None,
) -> Response:
    """Events of a stream behind a place, in their order, a page of them.

    With ``follow`` as server-sent events, and those to come, until whoever reads goes. An event
    ``error`` is the last one where the key holds no longer, the stream was deleted, or an entry
    cannot be read. An event's ``id`` is its place: ``Last-Event-ID`` goes on behind it. Places
    that are left out were trimmed.
    """
    where = (tenant_for(who, tenant), stream_of(name))
    if not follow:
        return JsonResponse(
            {"items": await services.read(services.streams.read, *where, after, limit)}
        )
    behind = after if last_event_id is None else min(int(last_event_id), PLACES_MAX)
    stream = held(request, services, who, _lines(services, where, behind), _refused)
    return StreamingResponse(stream, media_type="text/event-stream", headers=SSE_HEADERS)


async def _lines(
    services: Services, where: tuple[str, str], after: int
) -> AsyncGenerator[str, None]:
    yield ": begins\n\n"
    told_at, length = time.monotonic(), 0
    while True:
        found: list[dict[str, Any]] = []
        try:
            found = await services.read(services.streams.read, *where, after, _PAGE)
            now = length if found else await services.read(services.streams.length, *where)
            if now < length:
                yield _refused(ProblemError(404, "not_found", _DELETED))
                return
            length = now
        except PermanentError as error:  # as one that cannot be decrypted: it stays so
            yield _refused(ProblemError(500, error.kind, error.message))
            return
        except AgentsError as error:
            note(log, "api_follow", "A stream is not read", error=error)
        for entry in found:
            after, told_at = entry["seq"], time.monotonic()
            length = max(length, after + 1)
            data = json.dumps(entry, separators=(",", ":"))
            yield f"id: {after}\nevent: entry\ndata: {data}\n\n"
        if not found:
            if time.monotonic() - told_at >= PING_S:
                told_at = time.monotonic()
                yield ": ping\n\n"
            await asyncio.sleep(LOOK_S)


def _refused(error: ProblemError) -> str:
    told = {"kind": error.kind, "message": error.detail}
    return f"event: error\ndata: {json.dumps(told, separators=(',', ':'))}\n\n"


@router.delete("/streams/{name:path}", status_code=204, responses=problems(404))
async def delete(
    name: StreamName, services: Parts, who: DeletesStreams, tenant: OfTenant = None
) -> Response:
    """Delete a stream with all its events; a worker does it."""
    where, whose = written_of(name), tenant_for(who, tenant)
    if not await services.ask(who, services.client.events.delete, where, tenant=whose):
        raise not_found("such stream")
    return Response(status_code=204)
