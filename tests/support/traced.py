"""Agents whose code has spans of its own, by an SDK that its app has set up."""

from __future__ import annotations

from functools import cache
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from celery_agents import Answer, StepContext, agent

THEIRS = "theirs"


@cache
def _tracer() -> trace.Tracer:
    provider = TracerProvider(resource=Resource.create({"service.name": THEIRS}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer(THEIRS)


@agent
async def fetches(value: Any, step: StepContext) -> Any:
    """Has a span in its code, and one within a call."""

    async def perform(_: str) -> Answer:
        with _tracer().start_as_current_span("SELECT"):
            return Answer(value=value)

    with _tracer().start_as_current_span("GET"):
        pass
    return (await step.call("http", perform)).value


@agent
def fetches_in_a_thread(value: Any) -> Any:
    """Has a span in a thread."""
    with _tracer().start_as_current_span("GET"):
        return value
