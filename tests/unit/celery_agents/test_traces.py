"""Ids of traces and spans, and callers' headers."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_agents import traces
from celery_agents.traces import TraceParent, span_of, span_of_call, trace_of
from celery_agents.wire.ids import new_id

HEADER = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
CALLER = TraceParent(0x0AF7651916CD43DD8448EB211C80319C, 0x00F067AA0BA902B7)


@given(
    st.builds(
        TraceParent, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), sampled=st.booleans()
    )
)
def test_a_header_is_read_as_it_was_written(told: TraceParent) -> None:
    assert TraceParent.read(str(told)) == told


def test_the_standards_own_example() -> None:
    assert TraceParent.read(HEADER) == CALLER
    assert str(CALLER) == HEADER
    assert TraceParent.read(HEADER[:-2] + "00") == CALLER._replace(sampled=False)


@pytest.mark.parametrize(
    "told",
    [
        None, 7, b"00", "", "00", HEADER.upper(), f"{HEADER}-more", f"ff{HEADER[2:]}", HEADER[1:],
        f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        f"{HEADER}\n", f"01{HEADER[2:]}-{'x' * 200}",
    ],
)  # fmt: skip
def test_what_is_no_header_is_none(told: object) -> None:
    assert TraceParent.read(told) is None


def test_of_a_later_version_what_is_known_is_read() -> None:
    assert TraceParent.read(f"01{HEADER[2:]}-more") == CALLER


def test_ids_follow_from_names_and_differ() -> None:
    run_id = new_id()
    assert trace_of(run_id) == trace_of(run_id) != trace_of(new_id())
    assert trace_of(run_id, CALLER) == CALLER.trace_id
    spans = {span_of(run_id), span_of_call(run_id, 1, 0), span_of_call(run_id, 1, 1)}
    assert len(spans | {span_of_call(run_id, 2, 0)}) == 4
    assert all(0 < span < 2**64 for span in spans)


def test_a_ratio_takes_its_part_of_runs() -> None:
    """Ids of runs begin with the time: their own lower halves would do, their upper ones not."""
    kept = sum(trace_of(new_id()) & (2**64 - 1) < 2**62 for _ in range(2_000))
    assert 400 < kept < 600
    assert 400 < sum(trace_of(new_id()) >> 64 < 2**62 for _ in range(2_000)) < 600


def test_the_span_under_way_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    assert traces.current() is None
    assert "opentelemetry.trace" not in sys.modules
    assert traces.caller(HEADER) == HEADER
    assert traces.caller("nonsense") is None

    def api(*, is_valid: bool) -> SimpleNamespace:
        span = SimpleNamespace(trace_id=5, span_id=6, trace_flags=0, is_valid=is_valid)
        return SimpleNamespace(
            get_current_span=lambda: SimpleNamespace(get_span_context=lambda: span)
        )

    monkeypatch.setitem(sys.modules, "opentelemetry.trace", api(is_valid=False))
    assert traces.caller(HEADER) == HEADER
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", api(is_valid=True))
    assert traces.caller(HEADER) == str(TraceParent(5, 6, sampled=False))
