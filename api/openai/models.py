"""``/v1/models``: agents and panels, as models."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from api.access import Parts
from api.openai.views import ModelsView, ModelView, openai_errors
from api.principals import ReadsAgents
from api.problems import JsonResponse
from celery_agents.contracts.base import Name

router = APIRouter(tags=["openai"])
ModelName = Annotated[Name, Path()]


@router.get("/v1/models", response_model=ModelsView, responses=openai_errors())
async def listed(services: Parts, who: ReadsAgents) -> Response:
    """All that this key may ask: panels, and the agents that workers have offered."""
    return JsonResponse({"object": "list", "data": await services.models.listed(who)})


@router.get("/v1/models/{name:path}", response_model=ModelView, responses=openai_errors(404))
async def shown(name: ModelName, services: Parts, who: ReadsAgents) -> Response:
    """One of them."""
    return JsonResponse(await services.models.shown(who, name))
