"""A small model server for tests: OpenAI's, Anthropic's and Gemini's protocols over real HTTP.

What it does is scripted by `Does` values, one for each request, the last one repeating; with none
it answers sensibly: any structured answer that is asked for, else a fixed text. By hand:

    python -m tests.fakes.model_server --port 8099
    curl -s localhost:8099/v1/chat/completions -d '{"model": "m", "messages": []}'
"""

from __future__ import annotations

import argparse
import json
import math
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.fakes import dialects
from tests.fakes.refusals import refuse
from tests.support.readable import readable

HANG_LIMIT_S = 60.0


@dataclass(frozen=True)
class Does:
    """What the server does with one request."""

    text: str | None = None  # answer this text; a structured answer is its JSON
    json: Any = None  # answer this value as JSON text
    tool: tuple[str, dict[str, Any]] | None = None  # call this tool
    tools: tuple[tuple[str, dict[str, Any]], ...] = ()  # or all of these
    turn: str = ""  # stands in the ids of its calls; those of a real model are never twice the same
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None  # the body, whatever the protocol says
    hang: bool = False  # never answer
    stop: str = "end"  # or "length", "refusal"
    pieces: int = 2  # of a streamed text
    pause_s: float = 0.0  # before each event of a stream
    cut: bool = False  # a stream breaks off after its first piece of text
    input_tokens: int = 100
    output_tokens: int = 20
    cached_tokens: int = 40
    usage: bool = True  # tell the tokens

    @property
    def calls(self) -> tuple[tuple[str, dict[str, Any]], ...]:
        """The tools that it calls."""
        return self.tools or (() if self.tool is None else (self.tool,))


@dataclass(frozen=True)
class Seen:
    """A request as the server saw it; header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: Any


class Bucket:
    """An honest limit: so many requests a second, ``burst`` of them at once (a token bucket).

    What is above it is answered with ``status`` and Retry-After.
    """

    def __init__(
        self, per_s: float, burst: int = 1, *, status: int = 429, tells: bool = False
    ) -> None:
        self.admitted = self.refused = 0
        self._tells = tells  # its limit and what is left, in headers
        self.status = status
        self._per_s, self._burst = per_s, burst
        self._tokens, self._at = float(burst), time.monotonic()
        self._lock = threading.Lock()

    @property
    def headers(self) -> dict[str, str]:
        """Its limit as OpenAI tells it."""
        if not self._tells:
            return {}
        form = "x-ratelimit-{}-requests".format
        limit, left = round(60 * self._per_s), max(math.floor(self._tokens), 0)
        return {form("limit"): str(limit), form("remaining"): str(left)}

    def wait_s(self) -> int | None:
        """Take a token; else whole seconds until there is one, as Retry-After tells them."""
        with self._lock:
            now = time.monotonic()
            grown = self._tokens + (now - self._at) * self._per_s
            self._tokens, self._at = min(float(self._burst), grown), now
            if self._tokens >= 1:
                self._tokens -= 1
                self.admitted += 1
                return None
            self.refused += 1
            return math.ceil((1 - self._tokens) / self._per_s)


class ModelServer:
    """The server, running in threads on loopback from `with` on."""

    def __init__(self, port: int = 0) -> None:
        self.bucket: Bucket | None = None  # its limit, if it has one
        self.requests: list[Seen] = []
        self.requested = threading.Event()
        self.disconnected = threading.Event()  # a client went away from a hanging request
        self._script: list[Does] = []
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = _Server(("127.0.0.1", port), handler)
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def script(self, *does: Does) -> None:
        """Do this from now on, and forget what was seen."""
        with self._lock:
            self._script = list(does)
            self.requests.clear()
        self.requested.clear()
        self.disconnected.clear()

    def next(self, seen: Seen) -> Does | None:
        with self._lock:
            self.requests.append(seen)
            self.requested.set()
            if len(self._script) > 1:
                return self._script.pop(0)
            return self._script[0] if self._script else None

    def serve_forever(self) -> None:
        self._server.serve_forever(poll_interval=0.02)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def running(port: int = 0) -> Iterator[ModelServer]:
    """A server that runs in the background for the length of a `with`."""
    server = ModelServer(port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # tests connect many at once

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed hears no answer; everything else is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    owner: ModelServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        content = self.rfile.read(length)
        if len(content) < length:  # whoever sent it was killed amid that
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.path, headers, json.loads(content or b"null"))
        does = self._refusal() or self.owner.next(seen)
        dialect = dialects.dialect_of(self.path)
        if does is None:
            does = Does(text=dialects.sensible_text(seen.body))
        if dialect is not None and (wrong := _refused(dialect.provider, seen.body)):
            does = Does(status=400, text=wrong)
        if does.hang:
            self._hang()
        elif does.raw is not None or does.status != 200 or dialect is None:
            self._fail(does, dialect)
        elif dialect.wants_stream(self.path, seen.body):
            self._stream(does, dialect)
        else:
            self._send(200, json.dumps(dialect.whole(does)).encode(), does.headers)

    def _refusal(self) -> Does | None:
        bucket = self.owner.bucket
        wait_s = None if bucket is None else bucket.wait_s()
        if bucket is None or wait_s is None:
            return None
        body = b'{"error": {"message": "slow down"}}'
        return Does(status=bucket.status, raw=body, headers={"Retry-After": str(wait_s)})

    def _fail(self, does: Does, dialect: dialects.Dialect | None) -> None:
        status = 404 if dialect is None and does.raw is None else does.status
        body = does.raw
        if body is None:
            error = {"message": does.text or f"scripted {status}", "type": "scripted_error"}
            body = json.dumps({"error": error}).encode()
        self._send(status, body, does.headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        told = {} if self.owner.bucket is None else self.owner.bucket.headers
        for name, value in ({"Content-Type": "application/json"} | told | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, does: Does, dialect: dialects.Dialect) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in dialect.events(does):
            time.sleep(does.pause_s)
            self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
            self.wfile.flush()
            if does.cut and dialects.CUT_MARK in event:
                self.close_connection = True
                return
        self.wfile.write(b"0\r\n\r\n")

    def _hang(self) -> None:
        """Wait, without an answer, until the client goes away."""
        self.close_connection = True
        if readable([self.connection], HANG_LIMIT_S) and not self.connection.recv(
            1, socket.MSG_PEEK
        ):
            self.owner.disconnected.set()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nothing is printed."""


def _refused(provider: str, body: Any) -> str | None:
    """Tell why the provider takes no such conversation, if it does not."""
    try:
        refuse(provider, body)
    except AssertionError as error:
        return f"invalid conversation: {error}"
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description="A fake model server on loopback.")
    parser.add_argument("--port", type=int, default=8099)
    server = ModelServer(parser.parse_args().port)
    print(f"OpenAI: {server.url}/v1   Anthropic and Gemini: {server.url}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("stopped")


if __name__ == "__main__":
    main()
