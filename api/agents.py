"""``/agents``: which there are, who offers them, how they are; making some and deleting them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from starlette.responses import Response

from agents.catalog.posted import AllowedSecrets, PostedEntry, PostedModel, posted_url
from agents.net.outside import PrivateHosts
from api.access import May, Parts, forbidden
from api.metrics import breakers
from api.problems import JsonResponse, ProblemError, not_found
from api.tasks import problems
from api.views import AcceptedView, ListView
from app.access.permissions import Permission, Principal
from app.journal.tables.audit import Act
from celery_agents.contracts.base import Contract, Name
from celery_agents.errors import AgentsError, InvalidPayloadError

router = APIRouter(tags=["agents"])
Reads = Annotated[Principal, Depends(May(Permission.AGENTS_READ))]
Writes = Annotated[Principal, Depends(May(Permission.AGENTS_WRITE))]


@router.get("/agents", response_model=ListView, responses=problems())
async def agents(services: Parts, who: Reads) -> Response:
    """The agents that this key may ask: who offers them, in which queues, and how they are."""
    found = await services.read(services.posted.offered)
    allowed = [row for row in found if who.may_ask(row["name"])]
    stand = await breakers(services, [f"agent:{row['name']}" for row in allowed])
    items = [{**row, "breaker": stand.get(f"agent:{row['name']}")} for row in allowed]
    return JsonResponse({"items": items})


class AgentBody(Contract):
    """An agent that is to be made, or to be another one from now on."""

    name: Name
    entry: PostedEntry


@router.post("/agents", status_code=201, response_model=AcceptedView, responses=problems(400, 409))
async def make_agent(body: AgentBody, services: Parts, who: Writes) -> Response:
    """Make an agent without code, for all workers: they offer it within seconds.

    Its secret is the name of one that the service allows to go to its host; its URL leads to the
    internet, which is looked at each time that it is asked.
    """
    if who.tenant is not None:
        raise forbidden("Agents are for all tenants: it needs a key of all of them.")
    if not who.may_ask(body.name):
        raise forbidden("This key may not ask an agent of that name.")
    settings = services.settings
    try:
        AllowedSecrets.of(settings.api_secrets).check(body.entry)
        if url := posted_url(body.entry):
            PrivateHosts.of(settings.private_hosts).check_url(url)
    except AgentsError as error:
        raise InvalidPayloadError(error.message) from None
    kind = body.entry.kind
    told = {"kind": kind, "model": body.entry.model} if isinstance(body.entry, PostedModel) else {}
    await services.read(services.record, Act(who.id, "agent.put", body.name, "", told))
    entry = body.entry.compact() | {"kind": kind}
    if not await services.read(services.posted.put, body.name, entry, who.id):
        text = "Workers have an agent of this name of their own."
        raise ProblemError(409, "conflict", text)
    return JsonResponse({"id": body.name}, 201)


@router.delete("/agents/{name:path}", status_code=204, responses=problems(404))
async def delete_agent(name: Annotated[Name, Path()], services: Parts, who: Writes) -> Response:
    """Delete an agent that was made here: within seconds nobody offers it any more."""
    gone = False
    if who.tenant is None and who.may_ask(name):
        await services.read(services.record, Act(who.id, "agent.drop", name))
        gone = await services.read(services.posted.drop, name)
    if not gone:
        raise not_found("such agent that was made here")
    return Response(status_code=204)
