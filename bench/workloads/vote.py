"""Votes of five that agree: many at once, and one alone."""

from __future__ import annotations

from typing import Any

from bench.contestant import Case, Contestant
from bench.driver import Driver
from bench.workload import Figures, Stopwatch, Workload, lost, percentile

_ALONE = 50


def cases(_: Contestant, quick: bool) -> list[dict[str, Any]]:
    """200 votes."""
    return [{"votes": 50 if quick else 200}]


def measure(driver: Driver, case: Case) -> Figures:
    """Time many votes at once, then some alone."""
    votes = case["votes"]
    watch = Stopwatch()
    got = driver.votes(votes)
    seconds = watch.seconds
    wrong = lost(got, ["yes"] * votes)
    times = []
    for _ in range(_ALONE):
        watch = Stopwatch()
        wrong += lost(driver.votes(1), ["yes"])
        times.append(1000 * watch.seconds)
    return {
        "votes_per_s": votes / seconds,
        "p50_ms": percentile(times, 0.5),
        "p99_ms": percentile(times, 0.99),
        "lost": wrong,
    }


WORKLOAD = Workload(
    name="vote",
    title="Votes of five, all of them heard; p50 and p99 of one alone",
    headline="votes_per_s",
    unit="votes/s",
    cases=cases,
    measure=measure,
    columns={"p50_ms": "ms p50", "p99_ms": "ms p99"},
)
