"""Spans as OpenTelemetry's SDK has them, and their way to a collector."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from importlib.metadata import version
from typing import Any

import requests
from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from app.watching.spans import SpanRow
from celery_agents.noted import note
from celery_agents.traces import TraceParent

log = logging.getLogger(__name__)

_NAME = "celery-agents"
_UNNAMED = "unknown_service"  # what the SDK calls a service that nobody named
_SCOPE = InstrumentationScope(_NAME, version(_NAME))
_NANOSECONDS = 1e9
_SAMPLED, _DROPPED = TraceFlags(TraceFlags.SAMPLED), TraceFlags(TraceFlags.DEFAULT)
#: What a collector says of spans that it will never take: bad ones, and more than it takes at once.
_REFUSALS = frozenset({400, 413, 422})


def _context(told: TraceParent, *, is_remote: bool = False) -> SpanContext:
    flags = _SAMPLED if told.sampled else _DROPPED
    return SpanContext(told.trace_id, told.span_id, is_remote, flags)


class Sampling:
    """Which traces are kept, by ``OTEL_TRACES_SAMPLER``; the same wherever it is asked."""

    def __init__(self) -> None:
        provider = TracerProvider(shutdown_on_exit=False)
        self._sampler = provider.sampler
        provider.shutdown()

    def keeps(self, trace_id: int, caller: TraceParent | None, name: str) -> bool:
        """Return whether a trace is kept, which may begin with a caller's span."""
        above = context.Context()
        if caller is not None:
            span = NonRecordingSpan(_context(caller, is_remote=True))
            above = trace.set_span_in_context(span, above)
        decided = self._sampler.should_sample(above, trace_id, name).decision
        return decided is Decision.RECORD_AND_SAMPLE

    def under_way(self) -> TraceParent | None:
        """The span that is current here."""
        span = trace.get_current_span().get_span_context()
        if not span.is_valid:
            return None
        return TraceParent(span.trace_id, span.span_id, span.trace_flags.sampled)

    @contextmanager
    def current(self, told: TraceParent) -> Iterator[None]:
        """Make a span current, for spans of others to hang below."""
        span = NonRecordingSpan(_context(told))
        token = context.attach(trace.set_span_in_context(span))
        try:
            yield
        finally:
            context.detach(token)


class Sent(Enum):
    """How an export ended."""

    TAKEN = auto()
    AWAY = auto()  # it is to be tried again
    REFUSED = auto()  # it would be refused again


class Exporter:
    """Sends spans by OTLP over HTTP, as the standard variables say, and waits for the answer."""

    def __init__(self) -> None:
        self._status = 0
        session = requests.Session()
        session.hooks["response"].append(self._answered)
        self._exporter = OTLPSpanExporter(session=session)
        self._resource = _resource()

    def _answered(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self._status = response.status_code

    def send(self, spans: Sequence[SpanRow]) -> Sent:
        """Send some; only ``AWAY`` is to be tried again."""
        self._status = 0
        told = [_readable(span, self._resource) for span in spans]
        if self._exporter.export(told) is SpanExportResult.SUCCESS:
            return Sent.TAKEN
        if self._status in _REFUSALS:
            return Sent.REFUSED
        text = "Spans wait: the collector at the OTLP endpoint did not take them (%s)"
        note(log, "traces_away", text, self._status or "no answer")
        return Sent.AWAY

    def close(self) -> None:
        """Stop a send that waits to be tried again."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


class _Named(Resource):
    """A resource whose hash is made once: the SDK asks for it for each span, and makes JSON."""

    def __init__(self, found: Resource) -> None:
        super().__init__(found.attributes, found.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


def _resource() -> Resource:
    found = Resource.create()
    if str(found.attributes.get(SERVICE_NAME, _UNNAMED)).startswith(_UNNAMED):
        found = found.merge(Resource({SERVICE_NAME: _NAME}))
    return _Named(found)


def _readable(span: SpanRow, resource: Resource) -> ReadableSpan:
    parent = None if span.parent is None else _context(span.parent, is_remote=True)
    bad = span.error is not None
    return ReadableSpan(
        name=span.name,
        context=_context(TraceParent(span.trace_id, span.span_id)),
        parent=parent,
        resource=resource,
        attributes=span.attributes,
        events=[SpanEvent(kind, timestamp=_ns(at)) for kind, at in span.events],
        links=() if span.follows is None else (Link(_context(span.follows)),),
        kind=SpanKind[span.kind],
        status=Status(StatusCode.ERROR, span.error) if bad else Status(StatusCode.UNSET),
        start_time=_ns(span.start_s),
        end_time=_ns(span.end_s),
        instrumentation_scope=_SCOPE,
    )


def _ns(at_s: float) -> int:
    return int(at_s * _NANOSECONDS)
