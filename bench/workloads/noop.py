"""No-op steps with results: enqueued, run, and every result read."""

from __future__ import annotations

from typing import Any

from bench.contestant import Case, Contestant
from bench.driver import Driver
from bench.workload import Figures, Stopwatch, Workload, lost


def cases(_: Contestant, quick: bool) -> list[dict[str, Any]]:
    """5,000 steps."""
    return [{"steps": 500 if quick else 5000}]


def measure(driver: Driver, case: Case) -> Figures:
    """Time the steps from the first one sent to the last result."""
    watch = Stopwatch()
    got = driver.steps("noop", range(case["steps"]))
    seconds = watch.seconds
    return {
        "steps_per_s": case["steps"] / seconds,
        "seconds": seconds,
        "lost": lost(got, range(case["steps"])),
    }


WORKLOAD = Workload(
    name="noop",
    title="No-op steps with results, client and worker together",
    headline="steps_per_s",
    unit="steps/s",
    cases=cases,
    measure=measure,
)
