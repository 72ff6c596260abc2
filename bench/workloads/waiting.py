"""Steps that wait 200 ms for a model server, at several concurrencies."""

from __future__ import annotations

from typing import Any

from bench.contestant import Case, Contestant
from bench.driver import Driver
from bench.workload import Figures, Stopwatch, Workload, lost


def cases(contestant: Contestant, quick: bool) -> list[dict[str, Any]]:
    """2,000 steps at each concurrency of the contestant."""
    tried = contestant.waiting[:1] if quick else contestant.waiting
    return [{"steps": 500 if quick else 2000, "concurrency": n} for n in tried]


def measure(driver: Driver, case: Case) -> Figures:
    """Time the steps from the first one sent to the last result."""
    watch = Stopwatch()
    got = driver.steps("wait", range(case["steps"]))
    seconds = watch.seconds
    return {
        "steps_per_s": case["steps"] / seconds,
        "seconds": seconds,
        "lost": lost(got, range(case["steps"])),
    }


WORKLOAD = Workload(
    name="waiting",
    title="Steps that wait 200 ms for a model server",
    headline="steps_per_s",
    unit="steps/s",
    cases=cases,
    measure=measure,
)
