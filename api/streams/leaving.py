"""The server of a process: when it is asked to stop, streams end at once.

Whoever reads one goes on behind its last event in another process, or in the next one. Other
requests have some seconds to come to their end.
"""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from typing import Any

import uvicorn
from fastapi import FastAPI

#: Seconds that requests under way may take when it is asked to stop.
GRACE_S = 10


class LeavingServer(uvicorn.Server):
    """A server that tells its app when it is asked to stop."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what is under way."""
        self._app.state.services.under_way.leaving = True
        await super().shutdown(sockets)


def serve(app: FastAPI, host: str, port: int) -> None:
    """Serve until asked to stop."""
    with suppress(ImportError):  # the SDK of MCP has it: it would cut off calls, too, at once
        from sse_starlette.sse import AppStatus

        AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]
    # Its log is ours: redacted, and in the same form. Without uvicorn's own access log: a query may
    # hold what belongs in no log.
    config = uvicorn.Config(
        app,
        http=_protocol(),
        host=host,
        port=port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = LeavingServer(config, app)
    with suppress(KeyboardInterrupt):  # raised again once it has ended; as uvicorn.run does
        server.run()
    if not server.started:
        sys.exit(3)  # as uvicorn.run does


def _protocol() -> Any:
    """How connections are read; without httptools by h11, which bounds heads by itself."""
    try:
        from api.serving.connections import BoundedProtocol
    except ImportError:
        return "auto"
    return BoundedProtocol
