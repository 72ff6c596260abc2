"""Telling traces of a real journal to a real collector, which is away, refuses, and comes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from app.execution.runtime import Runtime
from app.journal.stores.traces import Traces
from app.maintenance import traces
from app.maintenance.traces import TraceTeller, grouped
from app.watching.otlp import Exporter, Sampling
from app.watching.tracing import Tracing
from celery_agents.traces import span_of, trace_of
from tests.support.otlp_sink import Seen, Sink, sink
from tests.unit.app.journal.support import DONE, SOON, claimed, plan, step

LEASE_S = 60.0


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    with sink() as made:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")  # it tries once
        yield made


@pytest.fixture
def journal(runtime: Runtime) -> Traces:
    return Traces(runtime.journal.engine, "me", delay_s=0.0, backlog_s=3_600.0)


@pytest.fixture
def teller(journal: Traces, collector: Sink) -> Iterator[TraceTeller]:
    exporter = Exporter()
    made = TraceTeller(journal, Tracing(Sampling(), content=False), exporter, None)
    assert made.tell(LEASE_S)  # from now on
    yield made
    exporter.close()


def finish(runtime: Runtime, *run_ids: str) -> None:
    for run_id in run_ids:
        claim = claimed(runtime.journal, run_id, step(run_id))
        runtime.journal.finish(claim, DONE).result(SOON)


def told(collector: Sink) -> Counter[int]:
    return Counter(span.span_id for span in collector.spans)


def all_of(*step_ids: str) -> Counter[int]:
    return Counter(span_of(step_id) for step_id in step_ids)


def test_each_is_told_once(runtime: Runtime, teller: TraceTeller, collector: Sink) -> None:
    finish(runtime, "r0", "r1")
    assert teller.tell(LEASE_S)
    assert not teller.tell(LEASE_S)
    assert told(collector) == all_of("r0", "r1")
    assert {span.trace_id for span in collector.spans} == {trace_of("r0"), trace_of("r1")}
    assert {span.service for span in collector.spans} == {"celery-agents"}


def test_a_collector_that_is_away_gets_all_of_it_later(
    runtime: Runtime, teller: TraceTeller, collector: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had taken of a portion before it went is not sent again."""
    monkeypatch.setattr(traces, "SPANS_MAX", 2)
    answers = iter([200, 503, 503])
    collector.judge = lambda _: next(answers, 200)
    finish(runtime, "r0", "r1", "r2")
    for _ in range(2):
        assert not teller.tell(LEASE_S)
    assert len(collector.spans) == 2
    finish(runtime, "r3")
    assert teller.tell(LEASE_S)
    assert teller.tell(LEASE_S)
    assert told(collector) == all_of("r0", "r1", "r2", "r3")


def test_nothing_is_held_in_memory_while_nobody_listens(
    runtime: Runtime, teller: TraceTeller, collector: Sink, journal: Traces
) -> None:
    """Another process goes on where this one has told."""
    collector.judge = lambda _: 503
    finish(runtime, *(f"r{n}" for n in range(5)))
    assert not teller.tell(LEASE_S)
    teller.leave()
    other = Traces(runtime.journal.engine, "other", delay_s=0.0, backlog_s=3_600.0)
    successor = TraceTeller(other, Tracing(Sampling(), content=False), Exporter(), None)
    collector.judge = lambda _: 200
    assert successor.tell(LEASE_S)
    assert not teller.tell(LEASE_S), "the duty is another one's"
    assert told(collector) == all_of(*(f"r{n}" for n in range(5)))


def test_what_is_refused_for_good_holds_nothing_up(
    runtime: Runtime, teller: TraceTeller, collector: Sink
) -> None:
    def judge(spans: list[Seen]) -> int:
        return 400 if any(span.span_id == span_of("r2") for span in spans) else 200

    collector.judge = judge
    finish(runtime, *(f"r{n}" for n in range(5)))
    assert teller.tell(LEASE_S)
    assert told(collector) == all_of("r0", "r1", "r3", "r4")


def test_it_rests_after_each_request_for_what_that_took(
    runtime: Runtime, journal: Traces, collector: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps need the interpreter that telling holds: ``TracesThread`` waits then, if some run."""
    monkeypatch.setattr(traces, "SPANS_MAX", 1)
    rests: list[float] = []
    tracing = Tracing(Sampling(), content=False)
    made = TraceTeller(journal, tracing, Exporter(), None, rest=rests.append)
    made.tell(LEASE_S)
    finish(runtime, "r0", "r1", "r2")
    assert made.tell(LEASE_S)
    assert len(rests) == 3
    assert all(took_s > 0 for took_s in rests)


def test_a_sampler_takes_whole_traces(
    runtime: Runtime, journal: Traces, collector: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    made = TraceTeller(journal, Tracing(Sampling(), content=False), Exporter(), None)
    made.tell(LEASE_S)
    run_ids = [f"r{n}" for n in range(40)]
    finish(runtime, *run_ids)
    parent = claimed(runtime.journal, "big", step("big", task="agents.vote", agent=None))
    members = runtime.journal.expand(parent, plan("a", "b")).result(SOON).members
    for member in members:
        claim = claimed(runtime.journal, member.id)
        runtime.journal.finish(claim, DONE).result(SOON)
    runtime.journal.finish(claimed(runtime.journal, "big"), DONE).result(SOON)
    assert made.tell(LEASE_S)
    half = 2**63
    kept = [run_id for run_id in run_ids if trace_of(run_id) & (2**64 - 1) < half]
    family = ["big", *(m.id for m in members)] if trace_of("big") & (2**64 - 1) < half else []
    assert told(collector) == all_of(*kept, *family)
    assert 10 < len(kept) < 30


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ({}, []),
        ({"a": 1, "b": 2, "c": 1}, [["a", "b"], ["c"]]),
        ({"a": 9, "b": 1}, [["a"], ["b"]]),
        ({"a": 1, "b": 9}, [["a"], ["b"]]),
    ],
)
def test_large_runs_are_read_by_themselves(sizes: dict[str, int], groups: list[list[str]]) -> None:
    assert [*grouped(sizes, 3)] == groups
