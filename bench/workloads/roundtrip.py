"""One no-op step alone: sent, run, its result read, and then the next one."""

from __future__ import annotations

from typing import Any

from bench.contestant import Case, Contestant
from bench.driver import Driver
from bench.workload import Figures, Stopwatch, Workload, percentile


def cases(_: Contestant, quick: bool) -> list[dict[str, Any]]:
    """300 steps."""
    return [{"steps": 100 if quick else 300}]


def measure(driver: Driver, case: Case) -> Figures:
    """Time each step alone."""
    times, wrong = [], 0
    for value in range(case["steps"]):
        watch = Stopwatch()
        wrong += driver.step(value) != value
        times.append(1000 * watch.seconds)
    return {"p50_ms": percentile(times, 0.5), "p99_ms": percentile(times, 0.99), "lost": wrong}


WORKLOAD = Workload(
    name="roundtrip",
    title="One no-op step alone, sent to read",
    headline="p50_ms",
    unit="ms p50",
    cases=cases,
    measure=measure,
    more_is_better=False,
    columns={"p99_ms": "ms p99"},
)
