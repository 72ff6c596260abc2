"""``/v1/models``: agents and panels, as models."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from starlette.responses import Response

from api.access import May, Parts
from api.openai.views import ModelsView, ModelView, openai_errors
from api.problems import JsonResponse
from app.access.permissions import Permission, Principal
from celery_agents.contracts.base import Name

router = APIRouter(tags=["openai"])
ReadsModels = Annotated[Principal, Depends(May(Permission.AGENTS_READ))]
ModelName = Annotated[Name, Path()]


@router.get("/v1/models", response_model=ModelsView, responses=openai_errors())
async def listed(services: Parts, who: ReadsModels) -> Response:
    """All that this key may ask: panels, and the agents that workers have offered."""
    return JsonResponse({"object": "list", "data": await services.models.listed(who)})


@router.get("/v1/models/{name:path}", response_model=ModelView, responses=openai_errors(404))
async def shown(name: ModelName, services: Parts, who: ReadsModels) -> Response:
    """One of them."""
    return JsonResponse(await services.models.shown(who, name))
