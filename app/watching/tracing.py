"""Traces by OpenTelemetry, where its environment names an endpoint; else nothing is imported.

Its own variables say how: ``OTEL_EXPORTER_OTLP_ENDPOINT`` and those beside it
(https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/).
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from celery_agents.noted import note
from celery_agents.traces import TraceParent, span_of, trace_of

if TYPE_CHECKING:
    from app.watching.otlp import Exporter
    from app.watching.spans import SpanRow

log = logging.getLogger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_CONTENT_IN_SPANS = frozenset({"true", "1", "span_only", "span_and_event"})
#: Runs whose callers are remembered: members of one come close together.
_CALLERS_MAX = 2_000


def wanted(environment: Mapping[str, str]) -> bool:
    """Return whether traces are to be told."""
    off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    off = off or environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none"
    return not off and any(environment.get(name, "").strip() for name in _ENDPOINTS)


def content_wanted(environment: Mapping[str, str]) -> bool:
    """Return whether spans are to have what was asked and answered."""
    return environment.get(_CONTENT, "").strip().lower() in _CONTENT_IN_SPANS


def tracing_of(environment: Mapping[str, str] = os.environ) -> Tracing | None:
    """The traces of this process; None where they are off, or the extra ``otel`` is missing."""
    if not wanted(environment):
        return None
    try:
        from app.watching.otlp import Sampling
    except ImportError as error:
        text = "Traces are off: install celery-agents[otel], or set OTEL_TRACES_EXPORTER=none"
        note(log, "traces_missing", text, error=error)
        return None
    return Tracing(Sampling(), content=content_wanted(environment))


class RunCaller(NamedTuple):
    """The span of a run's caller, where it has one."""

    caller: TraceParent | None


class Tracing:
    """Makes steps and calls current while their code runs: spans of other libraries hang there."""

    def __init__(self, sampling: Any, *, content: bool) -> None:
        self.content = content
        self._sampling = sampling
        self._callers: OrderedDict[str, RunCaller] = OrderedDict()
        self._lock = threading.Lock()

    def exporter(self) -> Exporter:
        """Make that which sends spans; one for each process that does."""
        from app.watching.otlp import Exporter

        return Exporter()

    def kept(self, spans: Sequence[SpanRow]) -> bool:
        """Return whether the trace of these spans is sampled, as its root or its caller says."""
        root = spans[0]
        return bool(self._sampling.keeps(root.trace_id, root.parent, root.name))

    def of_run(self, run_id: str) -> RunCaller | None:
        """The caller of a run, as far as it is known; None: it has to be read."""
        with self._lock:
            return self._callers.get(run_id)

    def remember(self, run_id: str, caller: TraceParent | None) -> RunCaller:
        """Keep who asked for a run."""
        found = RunCaller(caller)
        with self._lock:
            self._callers[run_id] = found
            if len(self._callers) > _CALLERS_MAX:
                self._callers.popitem(last=False)
        return found

    @contextmanager
    def step(self, run_id: str, caller: TraceParent | None, step_id: str) -> Iterator[None]:
        """Make a step's span current for the code in this block."""
        trace_id = trace_of(run_id, caller)
        sampled = self._sampling.keeps(trace_id, caller, "")
        with self._sampling.current(TraceParent(trace_id, span_of(step_id), sampled)):
            yield

    @contextmanager
    def below(self, span_id: int) -> Iterator[None]:
        """Make another span of the trace that is current here current instead."""
        above = self._sampling.under_way()
        if above is None:
            yield
            return
        with self._sampling.current(above._replace(span_id=span_id)):
            yield
