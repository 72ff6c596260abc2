"""``/replicated``: changes of replicated values, for the journals of other data centres."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.access import Parts
from api.operations import Limit, OfTenant
from api.principals import ReadsStreams
from api.problems import JsonResponse
from api.tasks import problems, tenant_for
from celery_agents.contracts.flows.replicated import POSITION, ReplicatedPage

router = APIRouter(tags=["streams"])


@router.get("/replicated", response_model=ReplicatedPage, responses=problems())
async def changes(
    services: Parts,
    who: ReadsStreams,
    after: Annotated[str | None, Query(pattern=POSITION)] = None,
    limit: Limit = 500,
    tenant: OfTenant = None,
) -> Response:
    """Changes of all replicated values behind a position, a page of them.

    In the order in which this journal has them, which nobody overtakes: the next page begins behind
    ``position``. ``celery -A app agents replicate`` of another journal takes them over.
    """
    about = (tenant_for(who, tenant), after, limit)
    page = await services.read(services.replicated.page, *about)
    return JsonResponse(page.model_dump(mode="json"))
