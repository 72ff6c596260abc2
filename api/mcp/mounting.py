"""The server below a route: made with the first message, closed with the app."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from starlette.types import Receive, Scope, Send

from api.mcp.listening.current import CurrentConfigured
from api.problems import ProblemError


class McpMount:
    """Hands requests on to the SDK's manager; ``most_bytes`` of a body.

    Raises:
        ConfigurationError: a prompt or a resource of the configuration is not right.
    """

    def __init__(self, most_bytes: int, config: Path | None = None) -> None:
        self._most_bytes = most_bytes
        self.current = CurrentConfigured(config)
        #: The server, once it is made.
        self.agents: Any = None
        self._manager: asyncio.Future[Any] | None = None
        self._over = asyncio.Event()
        self._owner: asyncio.Task[None] | None = None

    async def ready(self) -> Any:
        """The manager; the first one who asks has it made, in a task that owns it.

        Raises:
            ProblemError: the SDK is not installed (501).
        """
        if self._manager is None:
            loop = asyncio.get_running_loop()
            self._manager = loop.create_future()
            self._owner = loop.create_task(self._own(self._manager))
        return await asyncio.shield(self._manager)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        manager = await self.ready()
        await manager.asgi_app(scope, receive, send)

    async def close(self) -> None:
        """End what is under way."""
        self._over.set()
        if self._owner is not None:
            await asyncio.wait({self._owner})

    async def _own(self, made: asyncio.Future[Any]) -> None:
        try:
            manager = await asyncio.to_thread(self._make)  # its import takes a second
            async with manager.run():
                made.set_result(manager)
                await self._over.wait()
        except Exception as error:
            if made.done():
                raise
            made.set_exception(error)
            made.exception()
        finally:
            self._manager = None  # the next one who asks tries it again

    def _make(self) -> Any:
        try:
            from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
            from mcp.server.transport_security import TransportSecuritySettings
        except ImportError:
            text = "MCP is not served here: pip install 'celery-agents[mcp]'."
            raise ProblemError(501, "not_installed", text) from None
        from api.mcp.server import AgentServer

        self.agents = AgentServer(own_version(), current=self.current)
        # Hosts and origins are the route's, as of all routes. Any process answers any message.
        own = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        return StreamableHTTPSessionManager(
            self.agents.server,
            stateless=True,
            security_settings=own,
            max_request_body_size=self._most_bytes,
        )


def own_version() -> str:
    """The version of this package; of a checkout that is not installed, none."""
    with suppress(PackageNotFoundError):
        return version("celery-agents")
    return "0"
