"""A receiver of webhooks, which checks their signatures (standardwebhooks.com)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Receiver:
    """A server in threads of its own, on loopback from ``with`` on."""

    def __init__(self, secret: str) -> None:
        #: Bodies that were signed rightly, by the id of their message.
        self.told: dict[str, Any] = {}
        #: How many were not.
        self.refused = 0
        self._key = base64.b64decode(secret.removeprefix("whsec_"))
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/closed"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, headers: Any, body: bytes) -> int:
        """Keep a message that is signed rightly; the status to answer with."""
        known, at = headers["webhook-id"], headers["webhook-timestamp"]
        signed = hmac.new(self._key, f"{known}.{at}.".encode() + body, hashlib.sha256).digest()
        wanted = f"v1,{base64.b64encode(signed).decode()}"
        if not any(hmac.compare_digest(wanted, s) for s in headers["webhook-signature"].split()):
            self.refused += 1
            return 401
        self.told[known] = json.loads(body)
        return 204


class _Handler(BaseHTTPRequestHandler):
    owner: Receiver

    def do_POST(self) -> None:
        """Take a message."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.owner.take(self.headers, body))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""
