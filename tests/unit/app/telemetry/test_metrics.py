"""What a process counts for Prometheus, how few series that is, and how children tell it."""

from __future__ import annotations

import threading
import time
from itertools import product
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.telemetry.children import Children
from app.telemetry.exposition import counted, page
from app.telemetry.metrics import METRICS, Metrics, _kinds
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.errors import AgentsError
from tests.support.prometheus import needs_promtool, promtool

FINAL = [state for state in State if state.final]
AGENTS = [f"agent-{n:02}" for n in range(40)]
LABELS = ("task", "agent", "kind", "outcome", "direction", "state", "place", "le")
TASKS = ["agents.ask", "agents.vote", "agents.map", "agents.fallback", "agents.gather"]


def outcome(state: State = State.SUCCEEDED, kind: str = "", **about: Any) -> Outcome:
    error = ErrorInfo(kind=kind, message="m") if kind else None
    return Outcome(state=state, error=error, duration_s=about.pop("took_s", 0.2), **about)


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """By name and the values of labels, as Prometheus' own parser reads them."""
    found = text_string_to_metric_families(page(counted(metrics)))
    return {
        (s.name, *(s.labels[label] for label in LABELS if label in s.labels)): s.value
        for family in found
        for s in family.samples
    }


def test_the_end_of_a_step() -> None:
    metrics = Metrics(["gpt"])
    metrics.ended("agents.ask", "gpt", outcome(took_s=0.2), root=True)
    metrics.ended("agents.ask", "gpt", outcome(State.FAILED, "timeout", took_s=70), root=False)
    metrics.called("gpt", Usage(input_tokens=5, output_tokens=2, cost_usd=0.25), ok=True)
    metrics.called("gpt", Usage(cost_usd=None), ok=False)
    metrics.spent("gpt", Usage(input_tokens=1, cost_usd=0.5))
    metrics.again("gpt", "rate_limited")
    metrics.taken("agents.ask", -0.5)  # a client's clock may be ahead of ours
    found = samples(metrics)
    ask, name = "agents.ask", "agents_step_duration_seconds"
    assert found["agents_runs_total", ask, "succeeded"] == 1
    assert found["agents_steps_total", ask, "gpt", "succeeded"] == 1
    assert found["agents_steps_total", ask, "gpt", "failed"] == 1
    assert found[f"{name}_count", ask, "gpt"] == 2
    assert found[f"{name}_sum", ask, "gpt"] == pytest.approx(70.2)
    assert found[f"{name}_bucket", ask, "gpt", "0.1"] == 0
    assert found[f"{name}_bucket", ask, "gpt", "0.25"] == 1
    assert found[f"{name}_bucket", ask, "gpt", "300.0"] == 2
    assert found["agents_errors_total", "gpt", "timeout"] == 1
    assert found["agents_retries_total", "gpt", "rate_limited"] == 1
    assert found["agents_calls_total", "gpt", "ok"] == 1
    assert found["agents_calls_total", "gpt", "failed"] == 1
    assert found["agents_tokens_total", "gpt", "input"] == 6
    assert found["agents_tokens_total", "gpt", "output"] == 2
    assert found["agents_cost_usd_total", "gpt"] == 0.75
    assert found["agents_step_wait_seconds_bucket", ask, "0.01"] == 1


def full() -> Metrics:
    """All that 40 agents can come to, and agents that are none."""
    metrics = Metrics(AGENTS)
    kinds = [*{*_kinds(AgentsError)}]
    invented = [f"no-such-agent-{n}" for n in range(10_000)]
    usage = Usage(input_tokens=1, output_tokens=1, cached_tokens=1, cost_usd=0.1)
    for agent in [*AGENTS, *invented]:
        for state in FINAL:
            metrics.ended("agents.ask", agent, outcome(state), root=True)
        metrics.called(agent, usage, ok=True)
        metrics.called(agent, usage, ok=False)
    for agent, kind in product([*AGENTS, *invented[:5]], [*kinds, "made-up", *kinds]):
        metrics.ended("agents.ask", agent, outcome(State.FAILED, kind), root=False)
    for agent, kind in product([*AGENTS, *invented[:5]], [*{*_kinds(AgentsError)}, "up"]):
        metrics.again(agent, kind)
    for task, state in product(TASKS, FINAL):
        metrics.ended(task, None, outcome(state), root=True)
        metrics.taken(task, 1.0)
    metrics.note({f"place {n}": n for n in range(1, 51)})
    return metrics


def test_few_series_whatever_is_asked() -> None:
    """Each label that 40 agents can have, all at once; and 10,000 names that nobody has."""
    found = samples(full())
    print(len(found), "series")
    assert len(found) < 3_000
    assert not [key for key in found if any("no-such" in part for part in key)]
    assert found["agents_steps_total", "agents.ask", "other", "succeeded"] == 10_000
    assert found["agents_errors_total", "other", "other"] > 0


@needs_promtool
def test_promtool_finds_nothing_wrong() -> None:
    metrics = full()
    metrics.responded("/tasks/{run_id}", "GET", 200, 0.1)
    assert {metric.name for metric, _, _ in metrics.read()} == set(METRICS)
    assert promtool("check", "metrics", text=page(counted(metrics))) == ""


def test_what_is_taken_is_added_elsewhere() -> None:
    child, parent, alone = Metrics(["a"]), Metrics(["a"]), Metrics(["a"])
    for one in (child, alone):
        one.ended("t", "a", outcome(took_s=0.3), root=True)
        one.called("a", Usage(cost_usd=0.5), ok=True)
    parent.add(child.take())
    assert samples(child) == {}
    for one in (child, alone):
        one.ended("t", "a", outcome(took_s=3.0), root=True)
    parent.add(child.take())
    assert samples(parent) == samples(alone)


def test_what_was_noted_is_counted_once() -> None:
    metrics = Metrics()
    for counts in ({"a": 1}, {"a": 3}, {"a": 3, "b": 1}):
        metrics.note(counts)
    assert samples(metrics) == {("agents_noted_total", "a"): 3, ("agents_noted_total", "b"): 1}


def test_children_tell_their_parent() -> None:
    """More numbers than one datagram has; a child that is silent runs nothing."""
    at = [0.0]
    channel = Children(clock=lambda: at[0])
    parent, child = Metrics(AGENTS), full()
    told = samples(child)
    channel.listen(parent)
    channel.tell(child, 3, writes=False)
    until = time.monotonic() + 10
    while samples(parent) != told and time.monotonic() < until:
        time.sleep(0.01)
    assert samples(parent) == told
    assert (channel.running, channel.writes) == (3, False)
    at[0] = 6.0
    assert (channel.running, channel.writes) == (0, True)
    channel.close()


def test_what_the_parent_does_not_take_is_told_later() -> None:
    channel = Children()
    channel._out.settimeout(0.01)
    child = Metrics(["a"])
    while not child.take():  # until the socket is full
        child.called("a", Usage(), ok=True)
        channel.tell(child, 0, writes=True)
    child.called("a", Usage(), ok=True)
    channel.tell(child, 0, writes=True)
    assert samples(child)["agents_calls_total", "a", "ok"] == 1


def test_threads_lose_nothing() -> None:
    metrics = Metrics(["a"])

    def count() -> None:
        for _ in range(2_000):
            metrics.ended("t", "a", outcome(), root=True)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert samples(metrics)["agents_runs_total", "t", "succeeded"] == 8_000
