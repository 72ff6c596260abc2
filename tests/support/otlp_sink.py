"""A collector of traces: OTLP over HTTP, as protobuf (https://opentelemetry.io/docs/specs/otlp/)."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

ERROR = 2  # STATUS_CODE_ERROR


@dataclass(frozen=True, slots=True)
class Seen:
    """A span as it came."""

    name: str
    trace_id: int
    span_id: int
    parent_id: int | None
    start_ns: int
    end_ns: int
    failed: bool
    message: str
    service: str
    attributes: dict[str, Any]
    events: tuple[str, ...]
    links: tuple[int, ...]


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None


def _attributes(told: Any) -> dict[str, Any]:
    return {one.key: _plain(one.value) for one in told}


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "big")


def read(body: bytes) -> Iterator[Seen]:
    """Read a request."""
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = _attributes(resource.resource.attributes).get("service.name", "")
        for span in (s for scope in resource.scope_spans for s in scope.spans):
            yield Seen(
                name=span.name,
                trace_id=_number(span.trace_id),
                span_id=_number(span.span_id),
                parent_id=_number(span.parent_span_id) or None,
                start_ns=span.start_time_unix_nano,
                end_ns=span.end_time_unix_nano,
                failed=span.status.code == ERROR,
                message=span.status.message,
                service=service,
                attributes=_attributes(span.attributes),
                events=tuple(event.name for event in span.events),
                links=tuple(_number(link.span_id) for link in span.links),
            )


@dataclass
class Sink:
    """Spans that came; each request is answered with the status that ``judge`` says of it."""

    url: str = ""
    spans: list[Seen] = field(default_factory=list)
    requests: int = 0
    judge: Callable[[list[Seen]], int] = lambda _: 200

    def take(self, body: bytes) -> int:
        """Keep a request's spans where they are taken."""
        spans = list(read(body))
        self.requests += 1
        status = self.judge(spans)
        if status == 200:
            self.spans += spans
        return status

    def of_trace(self, trace_id: int) -> list[Seen]:
        """The spans of a trace."""
        return [span for span in list(self.spans) if span.trace_id == trace_id]


@contextmanager
def sink() -> Iterator[Sink]:
    """A collector on a port of its own."""
    held, lock = Sink(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            with lock:
                status = held.take(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    held.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
