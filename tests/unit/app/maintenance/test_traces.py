"""Telling traces of a real journal to a real collector, which is away, refuses, and comes back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from sqlalchemy import event

from app.execution.runtime import Runtime
from app.journal.schema.rows import Claimed
from app.journal.stores.traces import Traces
from app.maintenance import traces
from app.maintenance.traces import TraceTeller, grouped
from app.watching.otlp import Exporter, Sampling, Sent, _readable
from app.watching.spans import SpanRow
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


class Discarding:
    """A collector that takes all; what is sent is made into bytes as for a real one."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def send(self, spans: list[SpanRow]) -> Sent:
        made = encode_spans([_readable(span, Resource({})) for span in spans])
        self.bodies.append(made.SerializeToString())
        return Sent.TAKEN

    def close(self) -> None: ...


def test_it_costs_a_step_little_of_what_its_journal_does(
    runtime: Runtime, journal: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CPU in turns in one process, so that the machine and its load count on both sides.

    To claim and finish steps, many at a time, is less than a third of what a no-op step takes of a
    worker. A worker's own part of tracing (a span is current while code runs) is 15 us, a tenth of
    that; another process tells the rest later. No step has a statement more for it.
    """
    exporter, steps = Discarding(), 250
    teller = TraceTeller(journal, tracing := Tracing(Sampling(), content=False), exporter, None)
    assert teller.tell(LEASE_S)
    statements: list[str] = []
    event.listen(
        runtime.journal.engine, "before_cursor_execute", lambda *about: statements.append(about[2])
    )
    own: list[float] = []
    told: list[float] = []
    for turn in range(6):
        names = [f"r{turn}-{n}" for n in range(steps)]
        began = time.process_time()
        replies = [runtime.journal.claim(name, step(name)) for name in names]
        found = [reply.result(SOON) for reply in replies]
        claims = [one for one in found if isinstance(one, Claimed)]
        assert len(claims) == steps
        for reply in [runtime.journal.finish(one, DONE) for one in claims]:
            reply.result(SOON)
        done = time.process_time()
        for name in names:
            with tracing.step(name, None, name):
                pass
        current = time.process_time()
        statements.clear()
        while teller.tell(LEASE_S):
            pass
        told.append((time.process_time() - current) / (done - began))
        own.append((current - done) / (done - began))
        assert len(statements) <= 12 * (1 + steps // traces.STEPS_MAX)
    assert sum(map(len, exporter.bodies)) < 600 * 6 * steps
    assert sorted(own)[1] < 0.25
    assert sorted(told)[1] < 4.0  # 1.8: most of it makes bytes of spans, by the SDK
