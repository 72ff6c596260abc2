"""A reverse proxy whose service may be away: it then answers 502, and cuts what it carries."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from deploy.local.servers import LOOPBACK

_DROPPED = {"connection", "transfer-encoding", "keep-alive"}


class Proxy:
    """Carries ``GET`` to a service, unless that is away. A context."""

    def __init__(self, to: str) -> None:
        self._away = False
        self._carried: set[socket.socket] = set()
        #: Requests that were answered in its place.
        self.refused = 0
        outer, there = self, urlsplit(to)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                """Carry a request."""
                if outer._away:
                    outer.refused += 1
                    self.send_error(502)
                    return
                upstream = http.client.HTTPConnection(there.hostname or "", there.port, timeout=30)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in _DROPPED}
                upstream.request("GET", self.path, headers=headers)
                response = upstream.getresponse()
                self.send_response(response.status)
                for name, value in response.getheaders():
                    if name.lower() not in _DROPPED:
                        self.send_header(name, value)
                self.end_headers()
                with outer._carrying(upstream.sock), suppress(OSError, http.client.HTTPException):
                    while piece := response.read1(65536):
                        self.wfile.write(piece)
                        self.wfile.flush()
                upstream.close()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{LOOPBACK}:{self._server.server_port}"

    def leave(self) -> None:
        """Let the service be away from now on."""
        self._away = True
        for carried in list(self._carried):
            with suppress(OSError):
                carried.shutdown(socket.SHUT_RDWR)

    def come_back(self) -> None:
        """Let it be there again."""
        self._away = False

    @contextmanager
    def _carrying(self, carried: socket.socket) -> Iterator[None]:
        self._carried.add(carried)
        try:
            yield
        finally:
            self._carried.discard(carried)

    def __enter__(self) -> Self:
        serve = self._server.serve_forever
        self._thread = threading.Thread(target=serve, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
