"""Sessions, dead letters, keys, and how the service is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field
from redis.exceptions import RedisError
from starlette.responses import Response

from api.access import May, Parts, forbidden
from api.metrics import sight
from api.problems import JsonResponse, ProblemError, not_found
from api.tasks import problems, tenant_for
from api.views import AcceptedView, ListView, ServiceHealth
from app.access.keys import new_key
from app.access.permissions import ROLES, Permission, Principal, Role
from app.telemetry.exposition import CONTENT_TYPE, counted, page
from app.telemetry.gauges import open_steps
from celery_agents.contracts.base import Contract, Name, Tenant, Whole
from celery_agents.errors import AgentsError, InvalidPayloadError

router = APIRouter()
_P = Permission
_PLACES_MAX = 2**31 - 1
ReadsSessions = Annotated[Principal, Depends(May(_P.SESSIONS_READ))]
WritesSessions = Annotated[Principal, Depends(May(_P.SESSIONS_WRITE))]
ReadsLetters = Annotated[Principal, Depends(May(_P.LETTERS_READ))]
ReadsStats = Annotated[Principal, Depends(May(_P.STATS_READ))]
ReadsMetrics = Annotated[Principal, Depends(May(_P.METRICS_READ))]
ReadsKeys = Annotated[Principal, Depends(May(_P.KEYS_READ))]
WritesKeys = Annotated[Principal, Depends(May(_P.KEYS_WRITE))]
Limit = Annotated[int, Query(ge=1, le=1000)]
SessionName = Annotated[Name, Path()]
OfTenant = Annotated[Tenant | None, Query(description="For those who may see all tenants.")]


@router.get("/sessions", response_model=ListView, responses=problems(), tags=["sessions"])
async def sessions(
    services: Parts, who: ReadsSessions, tenant: OfTenant = None, limit: Limit = 100
) -> Response:
    """Conversations, the last one changed first."""
    whose = tenant_for(who, tenant)
    return JsonResponse({"items": await services.read(services.desk.sessions, whose, limit)})


@router.get("/sessions/{name:path}", responses=problems(404), tags=["sessions"])
async def session(
    name: SessionName,
    services: Parts,
    who: ReadsSessions,
    tenant: OfTenant = None,
    after: Annotated[int, Query(ge=-1, le=_PLACES_MAX)] = -1,
) -> Response:
    """Exchanges of a conversation from a place on; ``more`` is where the next page begins."""
    whose = tenant_for(who, tenant)
    try:
        return JsonResponse(await services.read(services.desk.session, whose, name, after))
    except InvalidPayloadError:
        raise not_found("such session") from None


class ForkBody(Contract):
    """A copy of a conversation, or of its begin."""

    name: Name
    copy_as: Name
    #: Only so many of its first exchanges.
    upto: Annotated[int, Field(ge=0, le=_PLACES_MAX), Whole] | None = None
    tenant: Tenant | None = None


@router.post("/sessions", status_code=201, responses=problems(400, 404, 409), tags=["sessions"])
async def fork(body: ForkBody, services: Parts, who: WritesSessions) -> Response:
    """Begin a conversation with the exchanges of another one; a worker does it."""
    whose = tenant_for(who, body.tenant)
    about = {"upto": body.upto, "tenant": whose}
    try:
        work = services.client.sessions.fork
        number = await services.ask(work, body.name, body.copy_as, **about)
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
        found = await services.ask(services.client.sessions.delete, name, tenant=whose)
    except InvalidPayloadError as error:
        raise ProblemError(409, "conflict", error.message) from None
    if not found:
        raise not_found("such session")
    return Response(status_code=204)


@router.get("/dead-letters", response_model=ListView, responses=problems(), tags=["operations"])
async def letters(services: Parts, who: ReadsLetters, limit: Limit = 100) -> Response:
    """Steps that were given up and, for those who see all tenants, messages nobody could run."""
    return JsonResponse({"items": await services.read(services.desk.letters, who.tenant, limit)})


@router.get("/stats", responses=problems(), tags=["operations"])
async def stats(services: Parts, who: ReadsStats) -> Response:
    """Steps that are ready and running now."""
    return JsonResponse({"steps": await services.read(services.desk.live, who.tenant)})


@router.get(
    "/metrics",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems()},
    response_class=Response,
    tags=["operations"],
)
async def metrics(services: Parts, who: ReadsMetrics) -> Response:
    """The service as a whole and this process, for Prometheus; each worker has its own."""
    if who.tenant is None:
        found = await sight(services)
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
    if who.agents is not None and not set(body.agents or ("*",)) <= set(who.agents):
        raise forbidden("A key may ask no other agents than the key that makes it.")
    if not ROLES[body.role] <= ROLES[who.role] | who.permissions:
        raise forbidden("A key may do no more than the key that makes it.")
    everywhere = who.tenant is None and body.tenant == "*"
    tenant = None if everywhere else tenant_for(who, body.tenant)
    told = body.model_dump(exclude={"name", "role", "tenant", "expires_s"}, mode="json")
    grants = {name: value for name, value in told.items() if value is not None}
    key, row = new_key(body.name, body.role, tenant=tenant, by=who.id, grants=grants)
    await services.read(services.keys.add, row, body.expires_s)
    return JsonResponse({"id": row["id"], "key": key}, 201)


@router.delete(
    "/keys/{key_id}", response_model=AcceptedView, responses=problems(404), tags=["keys"]
)
async def revoke_key(
    key_id: Annotated[str, Path(pattern="^[0-9a-z]{8}$")], services: Parts, who: WritesKeys
) -> Response:
    """Revoke a key: it holds no longer than five more seconds."""
    if await services.read(services.keys.revoke, key_id, who.tenant) is None:
        raise not_found(f"key {key_id}")
    return JsonResponse({"id": key_id})
