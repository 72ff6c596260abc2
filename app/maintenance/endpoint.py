"""A worker's answers to its supervisor: ``/healthz``, ``/readyz`` and ``/metrics`` over HTTP.

A port and not a file: Kubernetes asks it without starting a process in the container each time,
the same port tells the gauges, and a container without a shell can be asked too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from agents.catalog.probes import Probe
from app.execution.runtime import Runtime
from app.journal.tables.health import Condition
from app.maintenance.health import probe_broker, probe_journal
from celery_agents.errors import AgentsError, ConfigurationError

#: A loop that does nothing else for so long is stuck, and only a restart helps.
LOOP_PATIENCE_S = 5.0
_Page = tuple[HTTPStatus, str]


class Endpoint:
    """The small server of one worker; each request has a thread, and a time limit of its own."""

    def __init__(self, runtime: Runtime) -> None:
        """Listen.

        Raises:
            ConfigurationError: the port is taken.
        """
        host, port = runtime.settings.health_host, runtime.settings.health_port
        pages: dict[str, Callable[[], _Page]] = {
            "/healthz": lambda: alive(runtime),
            "/readyz": lambda: ready(runtime),
            "/metrics": lambda: metrics(runtime),
        }
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(pages))
        except OSError as error:
            raise ConfigurationError(
                f"health_port {port} of {host} cannot be used: {error.strerror}. Each worker of a "
                "machine needs a port of its own, or none (0)."
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="agents-endpoint", daemon=True
        )

    @property
    def port(self) -> int:
        return self._server.server_port

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def alive(runtime: Runtime) -> _Page:
    """Whether a restart would help: the loop that all steps share does not turn any more.

    A journal or broker that is away is no reason: this process outlives it.
    """
    try:
        runtime.loop.submit(asyncio.sleep(0)).result(LOOP_PATIENCE_S)
    except FutureTimeoutError:
        return HTTPStatus.SERVICE_UNAVAILABLE, "the loop is stuck\n"
    return HTTPStatus.OK, "ok\n"


def ready(runtime: Runtime) -> _Page:
    """Whether it can take steps now: not stopping, broker and journal answer."""
    if runtime.stopping:
        return HTTPStatus.SERVICE_UNAVAILABLE, "stopping\n"
    probes = [probe_broker(runtime.settings), probe_journal(runtime.journal.engine)]
    ok = all(p.error is None for p in probes)
    status = HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE
    # Why one fails stands in the worker's log: nobody has to log in to read this.
    return status, "".join(f"{p.target} {_word(p)}\n" for p in probes)


def metrics(runtime: Runtime) -> _Page:
    """Health as gauges, read from the journal: any worker tells that of all."""
    try:
        from prometheus_client import CollectorRegistry, Gauge, generate_latest
    except ImportError:
        return HTTPStatus.NOT_FOUND, "prometheus_client is not installed\n"
    registry = CollectorRegistry()
    healthy = Gauge("agents_healthy", "1 healthy, 0 unhealthy", ["target"], registry=registry)
    latency = Gauge(
        "agents_probe_latency_seconds", "Of the last good probe", ["target"], registry=registry
    )
    age = Gauge("agents_probe_age_seconds", "Since the last probe", ["target"], registry=registry)
    try:
        found = runtime.journal.targets.read()
    except AgentsError:
        return HTTPStatus.SERVICE_UNAVAILABLE, "the journal is away\n"
    for row in found:
        if row["state"] != Condition.UNKNOWN:
            healthy.labels(row["target"]).set(row["state"] == Condition.HEALTHY)
        if row["latency_ms"] is not None:
            latency.labels(row["target"]).set(row["latency_ms"] / 1000)
        age.labels(row["target"]).set(row["age_s"])
    return HTTPStatus.OK, generate_latest(registry).decode()


def _word(probe: Probe) -> str:
    return "ok" if probe.error is None else "away"


def _handler(pages: dict[str, Callable[[], _Page]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # for a client that connects and sends nothing

        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            status, text = page() if page else (HTTPStatus.NOT_FOUND, "not found\n")
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Asked every few seconds, it would fill the log."""

    return Handler
