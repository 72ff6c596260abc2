"""``/subscriptions``: runs that events start, and how far those who are served are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from api.access import Parts, forbidden
from api.operations import Limit, OfTenant
from api.principals import ReadsStreams, WritesSubscriptions
from api.problems import JsonResponse, not_found
from api.services import Services
from api.streams.paths import own_paths
from api.tasks import check_asked, problems, tenant_for
from api.views import AcceptedView, ListView
from app.access.permissions import Principal
from app.journal.following.subscribed import SubscriptionKey
from celery_agents.contracts.base import Name, Tenant
from celery_agents.contracts.flows.subscriptions import Kind, SubscriptionInfo, SubscriptionRule
from celery_agents.contracts.verbs import REQUESTS
from celery_agents.errors import InvalidPayloadError

own_paths("subscription", "/pause", "/resume")
router = APIRouter(tags=["streams"])
SubscriptionName = Annotated[Name, Path(description="The name of a subscription.")]


@router.get("/subscriptions", response_model=ListView, responses=problems())
async def subscriptions(
    services: Parts, who: ReadsStreams, tenant: OfTenant = None, limit: Limit = 100
) -> Response:
    """Subscriptions and projections in the order of their names, and how far they are."""
    whose = tenant_for(who, tenant)
    found = await services.read(services.streams.subscriptions.listed, whose, None, limit)
    return JsonResponse({"items": [*map(_shown, found)]})


@router.get(
    "/subscriptions/{name:subscription}", response_model=SubscriptionInfo, responses=problems(404)
)
async def subscription(
    name: SubscriptionName, services: Parts, who: ReadsStreams, tenant: OfTenant = None
) -> Response:
    """A subscription or projection."""
    listed = services.streams.subscriptions.listed
    found = await services.read(listed, tenant_for(who, tenant), name, 1)
    if not found:
        raise _none()
    return JsonResponse(_shown(found[0]))


class SubscriptionBody(SubscriptionRule):
    """A subscription that is to be made, or changed: of which events, and what each starts."""

    name: Name
    #: The streams, by their name or the beginning of their names: ``order/*``.
    of: Annotated[str, Field(min_length=1, max_length=181)]
    #: Of which kind the events are; without it, of each.
    kind: Kind | None = None
    #: The flow that is started on each event, or the agent that is asked it.
    flow: Name | None = None
    agent: Name | None = None
    #: Whose it is, and whose its runs are: for those who may see all tenants.
    tenant: Tenant | None = None


@router.post(
    "/subscriptions", status_code=201, response_model=SubscriptionInfo, responses=problems(400, 409)
)
async def put(body: SubscriptionBody, services: Parts, who: WritesSubscriptions) -> Response:
    """Make a subscription, or change the one of that name, which goes on where it stands.

    A worker does it. The event is the run's input.
    """
    if (body.flow is None) == (body.agent is None):
        raise InvalidPayloadError("One of flow and agent is needed.")
    if who.agents is not None and body.flow is not None:
        raise forbidden("A flow may ask any agent, and this key some alone.")
    if body.agent is not None and not who.may_ask(body.agent):
        raise forbidden(f"This key may not ask {body.agent!r}.")
    tenant = tenant_for(who, body.tenant)
    await _check(services, who, (body.name, tenant), known=False)
    run = None if body.agent is None else services.client.ask.s(body.agent)
    about: Any = {name: getattr(body, name) for name in SubscriptionRule.model_fields}
    about |= {"kind": body.kind, "start": body.flow, "run": run, "name": body.name}
    found = await services.ask(who, services.client.events.on, body.of, **about, tenant=tenant)
    return JsonResponse(found.model_dump(mode="json"), 201)


@router.post(
    "/subscriptions/{name:path}/pause", response_model=AcceptedView, responses=problems(404)
)
async def pause(
    name: SubscriptionName, services: Parts, who: WritesSubscriptions, tenant: OfTenant = None
) -> Response:
    """Let a subscription serve nothing; it loses nothing."""
    await _told(services, who, services.client.events.pause, (name, tenant))
    return JsonResponse({"id": name})


@router.post(
    "/subscriptions/{name:path}/resume", response_model=AcceptedView, responses=problems(404)
)
async def resume(
    name: SubscriptionName, services: Parts, who: WritesSubscriptions, tenant: OfTenant = None
) -> Response:
    """Let a subscription go on where it stands."""
    await _told(services, who, services.client.events.resume, (name, tenant))
    return JsonResponse({"id": name})


@router.delete("/subscriptions/{name:subscription}", status_code=204, responses=problems(404))
async def delete(
    name: SubscriptionName, services: Parts, who: WritesSubscriptions, tenant: OfTenant = None
) -> Response:
    """Delete a subscription; its runs stay."""
    if not await _told(services, who, services.client.events.off, (name, tenant)):
        raise _none()
    return Response(status_code=204)


async def _told(
    services: Services, who: Principal, work: Callable[..., Any], of: tuple[str, str | None]
) -> Any:
    """Have a worker do something with a subscription, of a name and a tenant.

    Raises:
        ProblemError: there is none (404).
    """
    name, tenant = of[0], tenant_for(who, of[1])
    await _check(services, who, (name, tenant))
    try:
        return await services.ask(who, work, name, tenant=tenant)
    except InvalidPayloadError:
        raise _none() from None


async def _check(
    services: Services, who: Principal, of: tuple[str, str], *, known: bool = True
) -> None:
    """Refuse a subscription that asks agents which are not for whoever has to do with it.

    Raises:
        ProblemError: it does, or may ask anybody, as flows do (403); there is none (404).
    """
    if who.agents is None:
        return
    name, tenant = of
    key = SubscriptionKey(tenant, name)
    there, run = await services.read(services.streams.subscriptions.target, key)
    if not there:
        if known:
            raise _none()
        return
    if run is None or run.task not in REQUESTS:
        raise forbidden("This key may not ask the agents that are asked by that subscription.")
    check_asked(who, REQUESTS[run.task].from_message([{}], run.kwargs))


def _shown(told: dict[str, Any]) -> dict[str, Any]:
    return SubscriptionInfo.read(told).model_dump(mode="json")


def _none() -> Exception:
    return not_found("such subscription")
