"""Runs of three steps one after another, each recorded: many at once, and one alone."""

from __future__ import annotations

from typing import Any

from bench.contestant import Case, Contestant
from bench.driver import Driver
from bench.workload import Figures, Stopwatch, Workload, lost, percentile

_ALONE = 50


def cases(_: Contestant, quick: bool) -> list[dict[str, Any]]:
    """500 runs."""
    return [{"runs": 100 if quick else 500}]


def measure(driver: Driver, case: Case) -> Figures:
    """Time many runs at once, then some alone."""
    runs = case["runs"]
    watch = Stopwatch()
    got = driver.chains(range(runs))
    seconds = watch.seconds
    wrong = lost(got, range(3, runs + 3))
    times = []
    for value in range(_ALONE):
        watch = Stopwatch()
        wrong += lost(driver.chains([value]), [value + 3])
        times.append(1000 * watch.seconds)
    return {
        "runs_per_s": runs / seconds,
        "p50_ms": percentile(times, 0.5),
        "p99_ms": percentile(times, 0.99),
        "lost": wrong,
    }


WORKLOAD = Workload(
    name="chain",
    title="Runs of three steps one after another, each recorded; p50 and p99 of one alone",
    headline="runs_per_s",
    unit="runs/s",
    cases=cases,
    measure=measure,
    columns={"p50_ms": "ms p50", "p99_ms": "ms p99"},
)
