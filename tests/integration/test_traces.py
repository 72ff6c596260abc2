"""Traces as a collector gets them from real workers, of all the ways in which steps end."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from celery import chain
from sqlalchemy import select

from app.journal.schema.models import Call, Step
from app.watching.otlp import Sampling
from celery_agents.contracts.outcome import State
from celery_agents.traces import TraceParent, span_of, span_of_call, trace_of
from tests.integration.harness import FAST, SOON_S, Location, Stack, eventually
from tests.support.drawn import costly
from tests.support.otlp_sink import Seen, Sink, sink
from tests.support.traced import THEIRS

pytestmark = pytest.mark.databases("sqlite")

_BAD = {State.FAILED, State.DEAD}


def a_caller() -> TraceParent:
    """Of runs, in a trace of its own: the collector is that of several tests, on each database."""
    return TraceParent(random.getrandbits(128) or 1, 0xF067AA0BA902B7)


@pytest.fixture(scope="module")
def collector() -> Iterator[Sink]:
    with sink() as made:
        yield made


def telling(location: Location, collector: Sink) -> Stack:
    """A stack whose workers tell traces within moments."""
    env = {
        **FAST,
        "AGENTS_MODULES": "tests.support.agents,tests.support.sagas,tests.support.traced",
        "AGENTS_TRACES_INTERVAL_S": "0.2",
        "AGENTS_TRACES_DELAY_S": "3",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
    }
    made = Stack(*location, env)
    made.worker()
    return made


@pytest.fixture(scope="module")
def traced(location: Location, collector: Sink) -> Iterator[Stack]:
    """One for the tests that harm nothing, of which traces are told."""
    made = telling(location, collector)
    try:
        begun(made, collector)
        yield made
    finally:
        made.close()


@pytest.fixture
def harmed(own_location: Location, collector: Sink) -> Iterator[Stack]:
    """One for a test that kills its workers."""
    made = telling(own_location, collector)
    yield made
    made.close()


def begun(stack: Stack, collector: Sink) -> None:
    """Wait until traces are told: of what ran before the first look nothing is."""

    asked: list[str] = []

    def told() -> bool:
        run = stack.client.ask("noop", 0)
        run.get(timeout=SOON_S)
        asked.append(run.id)
        time.sleep(0.5)
        return any(collector.of_trace(trace_of(run_id)) for run_id in asked)

    eventually(told, "the first trace")


def rows(stack: Stack, run_id: str) -> tuple[dict[int, Any], dict[int, Any]]:
    """The steps of a run and their calls, by the ids of their spans."""
    steps = stack.read(lambda c: c.execute(select(Step.__table__).filter_by(run_id=run_id)).all())
    of_steps = select(Call.__table__).where(Call.step_id.in_([s.id for s in steps]))
    calls = stack.read(lambda c: c.execute(of_steps).all())
    return (
        {span_of(step.id): step for step in steps},
        {span_of_call(call.step_id, call.token, call.seq): call for call in calls},
    )


def check(
    stack: Stack, collector: Sink, run_ids: Sequence[str], caller: TraceParent | None = None
) -> list[Seen]:
    """Hold the spans of some runs against their rows; returns them."""
    steps: dict[int, Any] = {}
    calls: dict[int, Any] = {}
    for run_id in run_ids:
        of_run, of_calls = rows(stack, run_id)
        steps, calls = steps | of_run, calls | of_calls
    traces = {trace_of(run_id, caller) for run_id in run_ids}
    wanted = steps.keys() | calls.keys()

    def told() -> bool:
        return wanted <= {span.span_id for span in list(collector.spans)}

    eventually(told, "all spans")
    found = [span for span in collector.spans if span.trace_id in traces and span.service != THEIRS]
    counted = Counter(span.span_id for span in found)
    assert set(counted) == wanted
    assert max(counted.values()) == 1, "a span was told twice"
    known = {span.span_id: span for span in found}
    for span in found:
        if span.parent_id in known:
            above = known[span.parent_id]
            assert above.trace_id == span.trace_id
            assert above.start_ns <= span.start_ns <= span.end_ns <= above.end_ns, span
        else:  # no orphan: a root, or what undoes a run
            assert span.parent_id == (None if caller is None else caller.span_id)
            assert steps[span.span_id].parent_id is None
        if (row := steps.get(span.span_id)) is not None:
            assert span.attributes["agents.state"] == row.state
            assert span.failed == (row.state in _BAD)
            assert span.parent_id in {None, caller and caller.span_id, span_of(row.parent_id or "")}
        else:
            call = calls[span.span_id]
            assert span.parent_id == span_of(call.step_id)
            assert span.failed == (call.error is not None or call.finished_at is None)
    return found


@contextmanager
def called_by(caller: TraceParent | None) -> Iterator[None]:
    """With a span of the program's under way, as its own instrumentation makes one current."""
    if caller is None:
        yield
        return
    with Sampling().current(caller):
        yield


@pytest.mark.timeout(240)
@pytest.mark.parametrize("called", [False, True], ids=["alone", "called"])
def test_one_trace_a_run_however_its_steps_end(
    traced: Stack, collector: Sink, tmp_path: Path, called: bool
) -> None:
    client, caller = traced.client, a_caller() if called else None
    quick: Any = {"max_attempts": 3, "base_delay_s": 0.01}
    trip: Any = {"path": str(tmp_path / "trip")}
    with called_by(caller):
        first = chain(client.ask.s("noop", 1), client.ask.s("noop"), client.ask.s("noop"))
        frozen = first.freeze()
        links = [frozen.parent.parent.id, frozen.parent.id, frozen.id]
        client.publish([first])
        runs = [
            client.ask("noop", 1),
            client.ask("bad", 1),
            client.ask("fetches", 1),
            client.ask("flaky", {"until": 2}, retry=quick),
            client.vote(["yes", "yes", "yes", "slow_yes"], "?", choices=["yes", "no"]),
            client.fallback(["bad", "shout"], "x"),
            client.fallback(["bad", "bad"], "x"),
            client.map("noop", list(range(100))),
            client.map("slow", [{"seconds": 30}] * 3),
            client.map("bad", list(range(100)), on_failure="stop"),
            client.gather(["hotel", "flight", "car"], trip, at_least=3),
        ]
    cancelled = runs[8]
    eventually(lambda: len(traced.members(cancelled.id)) == 3)
    client.runs.cancel(cancelled.id)
    run_ids = [run.id for run in runs] + links

    def over() -> bool:
        steps = [row for run_id in run_ids for row in rows(traced, run_id)[0].values()]
        return len({s.run_id for s in steps}) == len(run_ids) and all(
            s.finished_at is not None for s in steps
        )

    eventually(over, "all have ended", timeout_s=60)
    found = check(traced, collector, run_ids, caller)
    states = {span.attributes.get("agents.state") for span in found}
    assert states >= {"succeeded", "failed", "cancelled", "skipped"}
    by_trace = Counter(span.trace_id for span in found)
    assert len(by_trace) == (1 if caller is not None else len(run_ids))
    assert any("retry" in span.events for span in found)
    compensate = next(s for s in found if s.name == "invoke_workflow compensate")
    assert compensate.links == (span_of(runs[-1].id),)
    assert {span.service for span in found} == {"celery-agents"}


def test_spans_of_other_libraries_nest_in_steps_and_calls(traced: Stack, collector: Sink) -> None:
    """Those of members stand in the trace of the run's caller, which only the root's row names."""
    caller = a_caller()
    with called_by(caller):
        runs = [traced.client.map("fetches", [1, 2]), traced.client.ask("fetches_in_a_thread", 3)]
    for run in runs:
        run.get(timeout=SOON_S)
    found = {span.span_id: span for span in check(traced, collector, [r.id for r in runs], caller)}
    theirs = [s for s in collector.of_trace(caller.trace_id) if s.service == THEIRS]
    assert Counter(span.name for span in theirs) == {"GET": 3, "SELECT": 2}
    for span in theirs:
        above = found[span.parent_id or 0]
        assert above.name.startswith("invoke_agent fetches" if span.name == "GET" else "http")


@pytest.mark.parametrize("ending", ["kill", "terminate"])
def test_what_tells_gives_way_and_ends_with_its_worker(harmed: Stack, ending: str) -> None:
    """It is a process of a low priority, so it takes no interpreter from steps."""
    worker = harmed.workers[-1]
    (teller,) = eventually(lambda: psutil.Process(worker.pid).children())
    wanted = min(psutil.Process(worker.pid).nice() + 10, 19)
    eventually(lambda: teller.nice() == wanted)
    getattr(worker, ending)()
    eventually(lambda: not teller.is_running() or teller.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.timeout(300)
def test_kills_lose_and_double_nothing(harmed: Stack, collector: Sink, tmp_path: Path) -> None:
    """Killed amid steps, calls, and telling; what kills each time is given up by recovery."""
    begun(harmed, collector)
    client, runs = harmed.client, []
    quick: Any = {"max_attempts": 2, "base_delay_s": 0.01}
    kills: Any = {"path": str(tmp_path / "killed"), "until": 9}
    for n in range(costly(10, part=3)):
        runs += [
            client.map("noop", list(range(20))),
            client.ask("slow", {"seconds": 0.4}),
            client.ask("fetches", n),
            client.vote(["yes", "slow_yes", "yes"], "?", choices=["yes", "no"]),
        ]
        if n == 0:
            runs.append(client.ask("killer", kills, retry=quick))
            eventually(lambda: not harmed.workers[-1].running, "it killed its worker")
        else:
            time.sleep(0.3)
            harmed.workers[-1].kill()
        harmed.worker()

    def over() -> bool:
        if not harmed.workers[-1].running:
            harmed.worker()
        ids = [run.id for run in runs]
        query = select(Step.run_id, Step.finished_at).where(Step.run_id.in_(ids))
        steps = harmed.read(lambda c: c.execute(query).all())
        return len({s.run_id for s in steps}) == len(ids) and all(s.finished_at for s in steps)

    eventually(over, "all have ended", timeout_s=120)
    found = check(harmed, collector, [run.id for run in runs])
    assert "dead" in {span.attributes.get("agents.state") for span in found}
    assert len({span.trace_id for span in found}) == len(runs)
