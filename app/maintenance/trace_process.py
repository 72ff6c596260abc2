"""The process that tells traces: a child of each worker, of which one at a time tells for all.

A thread of the worker would take the interpreter from its steps, which is most of what traces cost.
The child is forked before the worker has threads and connections, so it has all modules and takes
little memory, and runs at a low priority: it takes the time that steps, brokers and databases
leave. What it cannot keep up with waits in the journal.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import threading
import uuid
from typing import Any

from celery import Celery

from agents.governance.lessons import Own
from app.execution.agents import load_registry
from app.execution.posted import Posted
from app.journal.schema.engine import connect_as
from app.journal.stores.posted import PostedAgents
from app.journal.stores.traces import Traces
from app.maintenance.traces import TraceTeller
from app.settings import Settings
from app.telemetry.children import Children
from app.telemetry.metrics import Metrics
from app.watching.contents import Contents
from app.watching.tracing import Tracing, tracing_of
from celery_agents.errors import AgentsError
from celery_agents.noted import note, noting

log = logging.getLogger(__name__)

#: Who holds the duty may be silent for three turns and a request that is tried again (10 s).
_TURNS, _REQUEST_S = 3, 20.0
#: The child looks so often whether its worker lives.
_ALIVE_S = 0.5
#: A worker that stops waits so long for a request under way.
_STOP_S = 5.0
#: Steps of its machine go first: among others that want a processor it has a tenth of their part.
#: With the lowest priority (19) it had so little on a machine that is full that nothing was told.
_NICE = 10
_WORKERS_SIGNALS = (
    *(signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2),
)


class TraceProcess:
    """The child of one worker. Made, and forked, before the worker has threads."""

    def __init__(self, app: Celery) -> None:
        settings: Settings = app.agents_settings
        self._children = Children() if settings.health_port else None
        context = multiprocessing.get_context("fork")
        about = (app, self._children, os.getpid())
        self._process = context.Process(target=_tell, args=about, name="agents-traces", daemon=True)
        self._process.start()

    def listen(self, metrics: Metrics) -> None:
        """Add up what the child notes, in a thread."""
        if self._children is not None:
            self._children.listen(metrics)

    def stop(self) -> None:
        """Stop; what is not told yet is told by others, or after the next start."""
        self._process.terminate()
        self._process.join(_STOP_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        if self._children is not None:
            self._children.close()


def _tell(app: Celery, children: Children | None, parent: int) -> None:
    """Tell until the worker stops, or is no more."""
    os.nice(_NICE)
    gc.freeze()  # what the worker has stays: no look at it, and no copy of its pages
    for number in _WORKERS_SIGNALS:  # the worker's handlers are of no use here
        signal.signal(number, signal.SIG_IGN)
    if (tracing := tracing_of()) is None:
        return
    loop = TraceLoop(app, tracing, parent)
    signal.signal(signal.SIGTERM, loop.stop)
    if children is not None:
        metrics = Metrics()
        children.begin(lambda: (metrics, 0, True))
    loop.run()
    if children is not None:
        children.end()


class TraceLoop:
    """Tells traces turn by turn."""

    def __init__(self, app: Celery, tracing: Tracing, parent: int) -> None:
        self._settings: Settings = app.agents_settings
        self._app, self._tracing, self._parent = app, tracing, parent
        self._exporter = tracing.exporter()
        self._engine = connect_as(self._settings)
        self._posted: Posted | None = None
        self._stopped = threading.Event()

    def stop(self, *_: Any) -> None:
        """Stop after the request under way, which is not tried again."""
        self._stopped.set()
        self._exporter.close()

    def run(self) -> None:
        """Tell until it is stopped, or its worker is gone."""
        settings = self._settings
        lease_s = _TURNS * settings.traces_interval_s + _REQUEST_S
        teller: TraceTeller | None = None
        while self._waited(settings.traces_interval_s):
            try:
                teller = teller or self._made()
                while self._turn(teller, lease_s) and self._waited(0):
                    pass
            except AgentsError as error:
                note(log, "traces", "Traces wait", error=error)
            except Exception as error:  # noqa: BLE001 - it is noted
                text = "Telling traces failed; it goes on at the next turn"
                note(log, "traces_failed", text, error=error, trace=True)
        if teller is not None:
            text = "The duty of telling traces ends by itself"
            with noting(log, "traces_left", text, AgentsError):
                teller.leave()

    def _made(self) -> TraceTeller:
        settings = self._settings
        journal = Traces(
            self._engine,
            uuid.uuid4().hex,
            delay_s=settings.traces_delay_s,
            backlog_s=settings.traces_backlog_s,
        )
        contents = self._contents() if self._tracing.content else None
        return TraceTeller(journal, self._tracing, self._exporter, contents)

    def _turn(self, teller: TraceTeller, lease_s: float) -> bool:
        if self._posted is not None:
            self._posted.look()
        return teller.tell(lease_s)

    def _contents(self) -> Contents:
        """Content as guards let it pass, of the agents that there are; those of the API too."""
        registry = load_registry(self._app, self._settings, lambda _: Own())
        stored = PostedAgents(self._engine)
        self._posted = Posted(registry, lambda: stored, self._settings, lambda: None)
        return Contents(registry)

    def _waited(self, seconds: float) -> bool:
        """Wait; False once it is to stop, or its worker is gone."""
        left_s = seconds
        while not self._stopped.wait(max(min(left_s, _ALIVE_S), 0.0)):
            if os.getppid() != self._parent:
                return False
            if (left_s := left_s - _ALIVE_S) <= 0:
                return True
        return False
