"""Sessions, dead letters, keys, and how the service is."""

from __future__ import annotations

import json
import math
import time
from functools import partial
from typing import Annotated, Any, NoReturn

from fastapi import APIRouter, Path, Query
from pydantic import Field
from redis.exceptions import RedisError
from starlette.responses import Response

from api.access import Parts, forbidden
from api.metrics import sight
from api.principals import (
    ReadsAudit,
    ReadsKeys,
    ReadsLetters,
    ReadsMetrics,
    ReadsSessions,
    ReadsStats,
    WritesKeys,
    WritesSessions,
)
from api.problems import JsonResponse, ProblemError, not_found
from api.services import Services
from api.tasks import problems, tenant_for
from api.views import AcceptedView, AuditView, ListView, ServiceHealth, StatsView
from app.access.grants import beyond
from app.access.keys import new_key, principal_of, successor
from app.access.permissions import Principal, Role, named
from app.telemetry.exposition import CONTENT_TYPE, counted, page
from app.telemetry.gauges import open_steps
from celery_agents.contracts.base import PLACES_MAX, Contract, Name, Tenant, Whole
from celery_agents.contracts.watching import SINCE_MAX_S, Grouping, StatsWanted
from celery_agents.errors import AgentsError, InvalidPayloadError

#: Characters of an entry's data that are shown where they are no JSON.
_CHANGED_MAX = 1_000
router = APIRouter()
Limit = Annotated[int, Query(ge=1, le=1000)]
KeyId = Annotated[str, Path(pattern="^[0-9a-z]{8}$")]
SessionName = Annotated[Name, Path()]
OfTenant = Annotated[Tenant | None, Query(description="For those who may see all tenants.")]


@router.get("/sessions", response_model=ListView, responses=problems(), tags=["sessions"])
async def sessions(
    services: Parts, who: ReadsSessions, tenant: OfTenant = None, limit: Limit = 100
) -> Response:
    """Conversations, the last one changed first."""
    whose = tenant_for(who, tenant)
    return JsonResponse({"items": await services.read(services.desk.sessions, whose, limit)})


async def exchanges_of(
    services: Services, who: Principal, name: str, tenant: str | None, after: int
) -> dict[str, Any]:
    """Exchanges of a conversation that somebody may read, from a place on.

    Raises:
        ProblemError: there is none of that name, or it is another tenant's.
    """
    whose = tenant_for(who, tenant)
    try:
        found: dict[str, Any] = await services.read(services.desk.session, whose, name, after)
    except InvalidPayloadError:
        raise not_found("such session") from None
    return found


@router.get("/sessions/{name:path}", responses=problems(404), tags=["sessions"])
async def session(
    name: SessionName,
    services: Parts,
    who: ReadsSessions,
    tenant: OfTenant = None,
    after: Annotated[int, Query(ge=-1, le=PLACES_MAX)] = -1,
) -> Response:
    """Exchanges of a conversation from a place on; ``more`` is where the next page begins."""
    return JsonResponse(await exchanges_of(services, who, name, tenant, after))


class ForkBody(Contract):
    """A copy of a conversation, or of its begin."""

    name: Name
    copy_as: Name
    #: Only so many of its first exchanges.
    upto: Annotated[int, Field(ge=0, le=PLACES_MAX), Whole] | None = None
    tenant: Tenant | None = None


@router.post("/sessions", status_code=201, responses=problems(400, 404, 409), tags=["sessions"])
async def fork(body: ForkBody, services: Parts, who: WritesSessions) -> Response:
    """Begin a conversation with the exchanges of another one; a worker does it."""
    whose = tenant_for(who, body.tenant)
    about = {"upto": body.upto, "tenant": whose}
    try:
        work = services.client.sessions.fork
        number = await services.ask(who, work, body.name, body.copy_as, **about)
    except InvalidPayloadError as error:
        raise ProblemError(409, "conflict", error.message) from None
    return JsonResponse({"name": body.copy_as, "exchanges": number}, 201)


@router.delete(
    "/sessions/{name:path}", status_code=204, responses=problems(404, 409), tags=["sessions"]
)
async def forget(
    name: SessionName, services: Parts, who: WritesSessions, tenant: OfTenant = None
) -> Response:
    """Delete a conversation with all its exchanges; a worker does it."""
    whose = tenant_for(who, tenant)
    try:
        found = await services.ask(who, services.client.sessions.delete, name, tenant=whose)
    except InvalidPayloadError as error:
        raise ProblemError(409, "conflict", error.message) from None
    if not found:
        raise not_found("such session")
    return Response(status_code=204)


@router.get("/dead-letters", response_model=ListView, responses=problems(), tags=["operations"])
async def letters(services: Parts, who: ReadsLetters, limit: Limit = 100) -> Response:
    """Steps that were given up and, for those who see all tenants, messages nobody could run."""
    return JsonResponse({"items": await services.read(services.desk.letters, who.tenant, limit)})


@router.get("/audit", response_model=AuditView, responses=problems(), tags=["operations"])
async def audit(
    services: Parts,
    who: ReadsAudit,
    tenant: OfTenant = None,
    limit: Limit = 100,
    before: Annotated[int | None, Query(ge=1, le=PLACES_MAX)] = None,
) -> Response:
    """Entries of the audit, the newest first; ``more`` is the ``before`` of the next page.

    The command line looks whether they are as they were written (``agents audit verify``).
    """
    whose = tenant if who.tenant is None else tenant_for(who, tenant)
    work = partial(services.audit.newest, limit, tenant=whose, before=before)
    found = await services.read(work)
    items = [{**one, "data": None if one["data"] is None else _data(one["data"])} for one in found]
    more = found[-1]["seq"] if len(found) == limit else None
    return JsonResponse({"items": items, "more": more})


def _data(told: str) -> Any:
    """The data of an entry; its text where somebody has changed it to what is no JSON."""
    try:
        return json.loads(told, parse_constant=_refused)
    except (ValueError, TypeError, RecursionError):
        return str(told)[:_CHANGED_MAX]


def _refused(told: str) -> NoReturn:
    raise ValueError(f"{told} is no JSON")


class StatsQuery(Contract):
    """The steps of which statistics are asked for, as an address has them."""

    since_s: Annotated[float, Field(gt=0, le=SINCE_MAX_S)] = 3_600.0
    by: Grouping = "agent"
    #: An agent, or the task of a pattern.
    agent: Name | None = None
    #: For those who may see all tenants.
    tenant: Tenant | None = None


@router.get("/stats", response_model=StatsView, responses=problems(), tags=["operations"])
async def stats(
    services: Parts, who: ReadsStats, query: Annotated[StatsQuery, Query()]
) -> Response:
    """Steps that are ready and running now, and those that ended within a time, in numbers."""
    tenant = query.tenant if who.tenant is None else tenant_for(who, query.tenant)
    wanted = StatsWanted.of(query.model_dump() | {"tenant": tenant})
    live = await services.read(services.desk.live, tenant)
    found = await services.read(services.statistics.within, wanted)
    return JsonResponse({"steps": live, **found.model_dump(mode="json")})


@router.get(
    "/metrics",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems()},
    response_class=Response,
    tags=["operations"],
)
async def metrics(services: Parts, who: ReadsMetrics) -> Response:
    """The service as a whole and this process, for Prometheus; each worker has its own."""
    if who.tenant is None:
        found = await sight(services, who)
        told = [*found.families(), *counted(services.metrics), *services.under_way.families()]
    else:
        told = [open_steps(await services.read(services.desk.live, who.tenant))]
    return Response(page(told), media_type=CONTENT_TYPE)


@router.get(
    "/health",
    response_model=ServiceHealth,
    responses={503: {"model": ServiceHealth}},
    tags=["operations"],
)
async def health(services: Parts) -> Response:
    """Tell if Redis and the journal answer; for everybody, so it says no more."""
    try:
        await services.redis.ping()
        await services.read(services.desk.ping)
    except (AgentsError, RedisError, OSError):
        return JsonResponse({"ok": False}, 503)
    return JsonResponse({"ok": True})


class KeyBody(Contract):
    """A key that is to be made."""

    name: Name
    role: Role
    #: Its own tenant; ``*`` (all) and others are for those who see all tenants.
    tenant: Tenant | None = None
    #: Patterns of the agents that it may ask; all where there are none.
    agents: Annotated[tuple[Name, ...], Field(max_length=100)] | None = None
    expires_s: Annotated[float, Field(gt=0, le=10 * 366 * 86400)] | None = None
    requests_per_s: Annotated[int, Field(ge=1, le=1_000_000), Whole] | None = None
    runs_per_s: Annotated[int, Field(ge=1, le=1_000_000), Whole] | None = None


@router.get("/keys", response_model=ListView, responses=problems(), tags=["keys"])
async def keys(services: Parts, who: ReadsKeys) -> Response:
    """Keys, the newest first; never their secrets."""
    return JsonResponse({"items": await services.read(services.keys.listed, who.tenant)})


@router.post("/keys", status_code=201, responses=problems(400), tags=["keys"])
async def make_key(body: KeyBody, services: Parts, who: WritesKeys) -> Response:
    """Make a key. It is in this response, and never shown again."""
    everywhere = who.tenant is None and body.tenant == "*"
    tenant = None if everywhere else tenant_for(who, body.tenant)
    told = body.model_dump(exclude={"name", "role", "tenant", "expires_s"}, mode="json")
    grants = {name: value for name, value in told.items() if value is not None}
    key, row = new_key(body.name, body.role, tenant=tenant, by=who.id, grants=grants)
    ends_at = None if body.expires_s is None else time.time() + body.expires_s
    _check_given(who, principal_of({**row, "expires_at": ends_at}))
    about = {"name": body.name, "role": body.role.value, "expires_s": body.expires_s}
    told = {**about, **grants}
    await services.record(who, "key.create", row["id"], named(tenant), **told)
    await services.read(services.keys.add, row, body.expires_s, who.ends_at)
    return JsonResponse({"id": row["id"], "key": key}, 201)


def _check_given(who: Principal, key: Principal) -> None:
    """Refuse to make, rotate or revoke a key that has more than the one that asks for it.

    Raises:
        ProblemError: it has (403).
    """
    if more := beyond(key, who):
        raise forbidden(f"A key may {', '.join(more)} than the key that makes or changes it.")


class RotationBody(Contract):
    """When the old key ends; both hold until then."""

    hours: Annotated[float, Field(ge=0, le=366 * 24)] = 24.0


@router.post("/keys/{key_id}/rotate", status_code=201, responses=problems(400, 404), tags=["keys"])
async def rotate_key(
    key_id: KeyId, body: RotationBody, services: Parts, who: WritesKeys
) -> Response:
    """Make a key that may do what another one may, which ends after so many hours.

    It is in this response, and never shown again.
    """
    old = await services.read(services.keys.find, key_id)
    if old is None or not who.sees(old["tenant"]):
        raise not_found(f"key {key_id}")
    _check_given(who, principal_of(old))
    key, row = successor(old, by=who.id)
    lasts_s = old["left_s"]
    after_s = min(body.hours * 3600, math.inf if lasts_s is None else lasts_s)
    about = {"replaced_by": row["id"], "after_s": after_s}
    await services.record(who, "key.rotate", key_id, named(old["tenant"]), **about)
    replace = partial(services.keys.replace, after_s=after_s)
    if not await services.read(replace, key_id, row):
        raise not_found(f"key {key_id}")
    return JsonResponse({"id": row["id"], "key": key, "replaces": key_id}, 201)


@router.delete(
    "/keys/{key_id}", response_model=AcceptedView, responses=problems(404), tags=["keys"]
)
async def revoke_key(key_id: KeyId, services: Parts, who: WritesKeys) -> Response:
    """Revoke a key: it holds no longer than five more seconds."""
    old = await services.read(services.keys.kept, key_id)
    if old is None or not who.sees(old["tenant"]):
        raise not_found(f"key {key_id}")
    _check_given(who, principal_of(old))
    await services.record(who, "key.revoke", key_id, named(who.tenant))
    if await services.read(services.keys.revoke, key_id, who.tenant) is None:
        raise not_found(f"key {key_id}")
    return JsonResponse({"id": key_id})
