"""A limit of requests at once, whose holders die: it holds, and their slots come back."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from celery_agents import names
from tests.chaos.audit import audit
from tests.chaos.scenario import Numbers, scenario
from tests.chaos.stand import PATIENT, Stand, eventually, kept_running
from tests.support.readable import readable

AT_ONCE, WORKERS = 10, 3
#: Seconds that a request takes.
TAKES_S = 0.4
#: A killed worker's slots are free after so long; a busy machine takes somewhat longer to see it.
FREE_S, SLACK_S = 8.0, 5.0
#: Workers are killed within this share of the work, so that enough is left to use what is free.
KILLED_WITHIN = 0.4
_CONFIG = """
[agents.service]
kind = "http"
url = "{url}"

[limits.service]
covers = ["agent:service"]
concurrent = {at_once}
"""


class Service:
    """Answers after a while, and counts whom it serves at once: a killed client is none."""

    def __init__(self) -> None:
        self.now = self.most = self.served = self.broken_off = 0
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"owner": self})
        self.server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Count a request for as long as it lasts."""
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            yield
        finally:
            with self._lock:
                self.now -= 1

    def wait_for(self, served: int) -> None:
        """Wait until so many have been served."""
        eventually(lambda: self.served >= served, "the work goes on", timeout_s=120)

    def ended(self, *, gone: bool) -> None:
        """Note how a request ended."""
        with self._lock:
            self.broken_off += gone
            self.served += not gone


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed hears no answer; everything else is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    owner: Service
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.owner.serving():
            gone = self._left_within(TAKES_S)
        self.owner.ended(gone=gone)
        if gone:
            self.close_connection = True
            return
        with suppress(ConnectionError):
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b'"ok"')

    def _left_within(self, seconds: float) -> bool:
        """Wait; tell whether the client went away meanwhile."""
        found = readable([self.connection], seconds)
        with suppress(ConnectionError):
            return bool(found) and not self.connection.recv(1, socket.MSG_PEEK)
        return True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing is printed."""


@scenario("slots", settings={})
def slots(stand: Stand) -> Numbers:
    """Ten at once, by default settings, and SIGKILLs among three workers."""
    service = Service()
    threading.Thread(target=service.server.serve_forever, daemon=True).start()
    config = stand.stack.directory / "agents.toml"
    config.write_text(_CONFIG.format(url=service.url, at_once=AT_ONCE))
    stand.stack.env |= {"AGENTS_CONFIG": str(config)}
    steps, kills = stand.size(500, 80), stand.size(10, 2)
    workers = stand.workers(WORKERS)
    runs = stand.client.ask.many("service", list(range(steps)), retry=PATIENT)
    with kept_running(workers):
        for number in range(1, kills + 1):
            service.wait_for(round(number * KILLED_WITHIN * steps / kills))
            stand.rng.choice(workers).kill()
            killed_at = time.monotonic()
        held = leases(stand)
        assert held, "nobody holds a slot"
        # Who lives renews the lease of what it holds, so what stays as it was is held by the dead.
        eventually(
            lambda: not held.items() & leases(stand).items(), "slots are free again", timeout_s=60
        )
        free_again_s = time.monotonic() - killed_at
        again = stand.wait_ended(runs, timeout_s=240)
    service.server.shutdown()
    assert service.most <= AT_ONCE, f"{service.most} at once"
    assert free_again_s <= FREE_S + SLACK_S, f"slots were free after {free_again_s:.1f} s"
    assert stand.values(runs) == ["ok"] * steps
    assert leases(stand) == {}, "slots are held that nobody uses"
    return {
        "steps": steps,
        "kills": kills,
        "most_at_once": service.most,
        "free_again_s": free_again_s,
        "broken_off": service.broken_off,
        "sent_again": again,
        **audit(stand),
    }


def leases(stand: Stand) -> dict[str, float]:
    """The holders of slots, with the end of each lease."""
    redis = stand.stack.redis
    found: dict[str, float] = {}
    for key in redis.keys(f"{names.LIMIT_KEYS}S:*"):
        held: Any = redis.zrange(key, 0, -1, withscores=True)
        found |= dict(held)
    return found
