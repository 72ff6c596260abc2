"""A receiver of webhooks: a real server, which can be down, refuse, hang, and come back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from deploy.local.servers import LOOPBACK
from tests.support.ports import free_port

#: The secret of the tests, as a receiver has it.
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass(frozen=True)
class Got:
    """A delivery."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """Somebody who is told; ``statuses`` are answered one after the other, then ``status``."""

    port: int = field(default_factory=free_port)
    status: int = 204
    statuses: list[int] = field(default_factory=list)
    got: list[Got] = field(default_factory=list)
    tried: list[Got] = field(default_factory=list)
    #: While it is not set, nobody is answered.
    answers: threading.Event = field(default_factory=threading.Event)
    _server: Any = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/hook"

    @property
    def told(self) -> dict[str, Any]:
        """Events by the ids of their runs, of deliveries that were answered well."""
        return {got.event["data"]["id"]: got.event for got in self.got}

    def up(self) -> None:
        self.answers.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                body = self.rfile.read(length)
                if len(body) < length:  # whoever sent it was killed
                    self.close_connection = True
                    return
                receiver.answers.wait(60)
                status = receiver.statuses.pop(0) if receiver.statuses else receiver.status
                got = Got({n.lower(): value for n, value in self.headers.items()}, body)
                receiver.tried.append(got)
                if status < 300:
                    receiver.got.append(got)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            request_queue_size = 512
            daemon_threads = True

        self._server = Server((LOOPBACK, self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def down(self) -> None:
        self.answers.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that is up."""
    made = Receiver()
    made.up()
    try:
        yield made
    finally:
        made.down()
