"""A balancer in front of several servers: each request goes to the next one."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx2
import uvicorn
from starlette.types import Receive, Scope, Send

from deploy.local.servers import LOOPBACK
from tests.support.ports import free_port

#: Headers that are of a connection, and not of a message.
_OWN = {b"connection", b"transfer-encoding", b"content-length", b"keep-alive"}
_STARTS_S = 60.0
#: Streams that nobody ends are broken off: a client that is gone is not noticed here.
_ENDS_S = 2


class RoundRobin:
    """Hands requests on; ``taken`` counts those of each server."""

    def __init__(self, places: Sequence[str]) -> None:
        self.taken = dict.fromkeys(places, 0)
        self._next = itertools.cycle(places)
        self._http = httpx2.AsyncClient(timeout=None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand one on, and its answer back as it comes."""
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        place = next(self._next)
        self.taken[place] += 1
        headers = [(n, value.strip(b" \t")) for n, value in scope["headers"] if n not in _OWN]
        about = {"headers": headers, "content": body}
        async with self._http.stream(scope["method"], f"{place}{scope['path']}", **about) as told:
            own = [(name.lower(), value) for name, value in told.headers.raw]
            kept = [(name, value) for name, value in own if name not in _OWN]
            start = {"type": "http.response.start", "status": told.status_code, "headers": kept}
            await send(start)
            async for chunk in told.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


@contextmanager
def balanced(places: Sequence[str]) -> Iterator[tuple[str, RoundRobin]]:
    """One in front of these servers; gives its URL, and itself."""
    app, port = RoundRobin(places), free_port()
    config = uvicorn.Config(
        app,
        host=LOOPBACK,
        port=port,
        log_level="warning",
        lifespan="off",
        timeout_graceful_shutdown=_ENDS_S,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until = time.monotonic() + _STARTS_S
        while not server.started and time.monotonic() < until:
            time.sleep(0.02)
        yield f"http://{LOOPBACK}:{port}", app
    finally:
        server.should_exit = True
        thread.join()
