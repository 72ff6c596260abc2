"""A worker's answers to its supervisor: ``/healthz``, ``/readyz`` and ``/metrics`` over HTTP.

``/metrics`` is of this worker, with its prefork children; what is one for all workers stands in
``/metrics/service``, and in ``/metrics`` of the API.

A port and not a file: Kubernetes asks it without starting a process in the container each time,
the same port tells the gauges, and a container without a shell can be asked too.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from agents.catalog.probes import Probe
from app.execution.runtime import Runtime
from app.maintenance.health import probe_broker, probe_journal
from app.maintenance.sight import sight_of
from app.telemetry.children import Children
from app.telemetry.exposition import CONTENT_TYPE, counted, gauge, page
from celery_agents.errors import AgentsError, ConfigurationError
from celery_agents.noted import counts

#: A loop that does nothing else for so long is stuck, and only a restart helps.
LOOP_PATIENCE_S = 5.0
#: A connection is closed after this, answered or not.
PATIENCE_S = 10.0
#: Connections at once; those of supervisors and of a scraper are a handful. Each has two threads.
CONNECTIONS_MAX = 32
#: A new connection waits so long for the thread of one that was closed for it.
ROOM_S = 1.0
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
            "/metrics/service": lambda: service_metrics(runtime),
        }
        try:
            self._server = _Server((host, port), _handler(pages))
        except OSError as error:
            raise ConfigurationError(
                f"health_port {port} of {host} cannot be used: {error.strerror}. Each worker of a "
                "machine needs a port of its own, or none (0)."
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="agents-endpoint", daemon=True
        )

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return self._server.server_port

    def start(self) -> None:
        """Start to answer, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and close the socket."""
        self._server.shutdown()
        self._server.server_close()


def alive(runtime: Runtime) -> _Page:
    """Report whether a restart would help: the loop that all steps share does not turn any more.

    A journal or broker that is away is no reason: this process outlives it.
    """
    if runtime.watchdog.stalled:
        return HTTPStatus.SERVICE_UNAVAILABLE, "the loop is stuck\n"
    try:
        runtime.loop.submit(asyncio.sleep(0)).result(LOOP_PATIENCE_S)
    except FutureTimeoutError:
        return HTTPStatus.SERVICE_UNAVAILABLE, "the loop is stuck\n"
    return HTTPStatus.OK, "ok\n"


def ready(runtime: Runtime) -> _Page:
    """Report whether it can take steps: not stopping, broker and journal answer and take writes."""
    if runtime.stopping:
        return HTTPStatus.SERVICE_UNAVAILABLE, "stopping\n"
    probes = [probe_broker(runtime.settings), _probe_journal(runtime)]
    ok = all(p.error is None for p in probes)
    status = HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE
    # Why one fails stands in the worker's log: nobody has to log in to read this.
    return status, "".join(f"{p.target} {_word(p)}\n" for p in probes)


def _probe_journal(runtime: Runtime) -> Probe:
    """Probe by the last heartbeat: a full or read-only journal answers, but takes none."""
    if not runtime.writes:
        return Probe("journal", "it does not take what is written")
    return probe_journal(runtime.journal.engine)


def metrics(runtime: Runtime) -> _Page:
    """Report what this worker alone knows; Prometheus adds the numbers of all workers up."""
    children: Children | None = getattr(runtime.app, "agents_children", None)
    own, running, writable = runtime.told
    steps = gauge("agents_steps_running", "Agents that answer here now")
    steps.add_metric([], running + (0 if children is None else children.running))
    writes = gauge("agents_journal_writable", "1 if the journal took what was last written, else 0")
    writes.add_metric([], writable and (children is None or children.writes))
    own.note(counts())
    return HTTPStatus.OK, page((steps, writes, *counted(own)))


def service_metrics(runtime: Runtime) -> _Page:
    """Report on the whole service: every worker tells the same, so one is asked."""
    try:
        found = sight_of(runtime)
    except AgentsError:
        return HTTPStatus.SERVICE_UNAVAILABLE, "the journal is away\n"
    return HTTPStatus.OK, page(found.families())


def _word(probe: Probe) -> str:
    return "ok" if probe.error is None else "away"


class _Server(ThreadingHTTPServer):
    """Some threads and no more: for one more, whoever takes longest to ask has to go.

    Else some dozen slow clients would have a supervisor's probe refused, and a good worker ended.
    A connection is closed :data:`PATIENCE_S` after it came, however its client trickles: a limit
    on each read alone would let one byte in ten seconds hold a thread for ever.
    """

    daemon_threads = True
    request_queue_size = 128  # by default 5, above which a connection comes a second later

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        self._free = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._unheard: dict[socket.socket, None] = {}  # whose request is not whole yet, in order

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            for slowest in list(self._unheard)[:1]:
                _shut(slowest)
            if not self._free.acquire(timeout=ROOM_S):  # all of them are being answered
                self.shutdown_request(request)
                return
        self._unheard[request] = None
        super().process_request(request, client_address)

    def heard(self, request: Any) -> None:
        """Note that a request is whole: its connection stays until it is answered."""
        self._unheard.pop(request, None)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        closing = threading.Timer(PATIENCE_S, _shut, [request])
        closing.daemon = True
        closing.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            closing.cancel()
            self.heard(request)
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of ours."""


def _shut(request: socket.socket) -> None:
    with suppress(OSError):  # closed meanwhile
        request.shutdown(socket.SHUT_RDWR)


def _handler(pages: dict[str, Callable[[], _Page]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server: _Server

        def do_GET(self) -> None:
            self.server.heard(self.request)
            found = pages.get(self.path.partition("?")[0])
            status, text = found() if found else (HTTPStatus.NOT_FOUND, "not found\n")
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Asked every few seconds, it would fill the log."""

    return Handler
