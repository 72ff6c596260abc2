"""The app: routes, errors, and the parts that it opens and closes."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import ModuleType

from fastapi import FastAPI
from starlette.responses import Response

from api import agents, events, operations, problems, schedules, tasks
from api.access import check_routes, methods_of
from api.bounds import BodyBound
from api.flows import routes as flows
from api.mcp import routes as mcp
from api.mcp.mounting import McpMount
from api.openai import chat, errors, models, responses
from api.services import Services
from api.streams import replicated, subscriptions, topics
from api.streams import routes as streams
from api.ui import routes as ui
from api.under_way import CountedRequests
from app.settings import Settings
from celery_agents.errors import ConfigurationError

#: A body may be so many times the largest payload: JSON writes a character as six at the most.
_ESCAPED = 6
_DESCRIPTION = "Durable runs of AI agents. A run that is accepted (202) is done, or its end told."


_PARTS = (
    *(tasks, flows, events, agents, schedules, streams, subscriptions, topics, replicated),
    *(operations, chat, responses, models, mcp, ui),
)


def create_api(settings: Settings, parts: Sequence[ModuleType] = _PARTS) -> FastAPI:
    """Make the app of these settings; nothing is connected before it starts.

    ``parts`` are modules with routers.

    Raises:
        ConfigurationError: everybody could ask from elsewhere, or a route needs no permission.
    """
    if settings.api_auth == "none" and not _is_loopback(settings.api_host):
        raise ConfigurationError(
            "AGENTS_API_AUTH=none is for this machine alone: let AGENTS_API_HOST be 127.0.0.1."
        )

    most_bytes = _ESCAPED * settings.payload_limit_bytes

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services = app.state.services = Services(settings)
        mount = app.state.mcp = McpMount(most_bytes, settings.config)
        services.open()
        try:
            await services.check()
            yield
        finally:
            await mount.close()
            await services.close()

    app = FastAPI(
        title="celery-agents",
        description=_DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        separate_input_output_schemas=False,
    )
    problems.install(app, partial(methods_of, app), _told)
    for part in parts:
        app.include_router(part.router)
    check_routes(app)
    app.add_middleware(BodyBound, most_bytes=most_bytes, told=_told)
    app.add_middleware(CountedRequests)
    return app


def _told(path: str, error: problems.ProblemError) -> Response:
    """An error in the form that the readers of a path know."""
    if path.startswith(errors.PREFIX):
        return errors.response(error)
    return problems.response(error)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
