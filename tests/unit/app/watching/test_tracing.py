"""Whether traces are told, and which span is current."""

from __future__ import annotations

import sys

import pytest
from opentelemetry import trace

from app.watching.otlp import Sampling
from app.watching.tracing import Tracing, content_wanted, tracing_of
from celery_agents.traces import TraceParent, span_of, trace_of

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"}, True),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_the_standards_variables_say_whether(environment: dict[str, str], on: bool) -> None:
    assert (tracing_of(environment) is not None) == on


@pytest.mark.parametrize(
    ("said", "wanted"),
    [("true", True), ("SPAN_ONLY", True), ("span_and_event", True), ("false", False), ("", False),
     ("EVENT_ONLY", False), ("NO_CONTENT", False)],
)  # fmt: skip
def test_content_is_asked_for(said: str, wanted: bool) -> None:
    name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    assert content_wanted({name: said}) == wanted
    assert not content_wanted({})


def test_without_an_endpoint_nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor with the service: tests/unit/test_imports.py."""
    monkeypatch.setitem(sys.modules, "app.watching.otlp", None)  # to import it fails
    assert tracing_of({}) is None


def _current() -> TraceParent | None:
    return Sampling().under_way()


def test_a_steps_span_is_current_and_its_calls_below() -> None:
    tracing = Tracing(Sampling(), content=False)
    caller = TraceParent(5, 6, sampled=False)
    with tracing.below(9):
        assert _current() is None, "there is no trace to stand in"
    with tracing.step("r", None, "s"):
        assert _current() == TraceParent(trace_of("r"), span_of("s"))
        with tracing.below(9):
            assert _current() == TraceParent(trace_of("r"), 9)
        assert _current() == TraceParent(trace_of("r"), span_of("s"))
        with tracing.step("r", caller, "s"):
            assert _current() == TraceParent(5, span_of("s"), sampled=False)
    assert not trace.get_current_span().get_span_context().is_valid
