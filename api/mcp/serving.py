"""MCP by itself: over HTTP on an address, or on the pipes of the program that starts this one."""

from __future__ import annotations

import logging
from types import ModuleType

from api.application import create_api
from api.mcp import routes
from api.mcp.callers import PipedCaller
from api.mcp.listening.current import CurrentConfigured
from api.mcp.mounting import own_version
from api.problems import ProblemError
from api.services import Services
from api.streams.leaving import serve
from app.settings import Settings
from celery_agents.errors import ConfigurationError

log = logging.getLogger(__name__)
_PARTS: tuple[ModuleType, ...] = (routes,)


def serve_http(settings: Settings, host: str, port: int) -> None:
    """Serve ``/mcp`` alone, on this address, until asked to stop.

    Raises:
        ConfigurationError: everybody could ask from elsewhere.
    """
    own = settings.model_copy(update={"api_host": host, "api_port": port})
    app = create_api(own, _PARTS)
    serve(app, host, port)


async def serve_pipes(settings: Settings, key: str | None) -> None:
    """Serve standard input and output until the former ends.

    Raises:
        ConfigurationError: there is no key that holds, or the SDK is not installed.
    """
    try:
        from mcp.server.stdio import stdio_server
    except ImportError:
        raise ConfigurationError("Install celery-agents[mcp].") from None
    from api.mcp.server import AgentServer

    services = Services(settings)
    services.open()
    try:
        await services.check()
        piped = await _let_in(PipedCaller(services, key))
        current = CurrentConfigured(settings.config)
        agents = AgentServer(own_version(), piped, current)
        server = agents.server
        log.info("MCP is served on pipes, for %s", piped.who.id)
        async with stdio_server() as (incoming, outgoing):
            try:
                await server.run(incoming, outgoing, server.create_initialization_options())
            finally:
                await agents.listening.pipe.close()
    finally:
        await services.close()


async def _let_in(piped: PipedCaller) -> PipedCaller:
    try:
        return await piped.identified()
    except ProblemError as error:
        text = f"{error.detail} Give one that holds: AGENTS_MCP_KEY=ca_…"
        raise ConfigurationError(text) from None
