"""A durable function of many steps one after another, each recorded before the next one begins."""

from __future__ import annotations

from typing import Any

from bench.contestant import Case, Contestant
from bench.driver import Driver
from bench.workload import Figures, Stopwatch, Workload


def cases(_: Contestant, quick: bool) -> list[dict[str, Any]]:
    """2,000 steps."""
    return [{"steps": 200 if quick else 2000}]


def warm_up(driver: Driver, case: Case) -> None:  # noqa: ARG001
    """Run a short one: its code is loaded, its connections are open."""
    driver.flow(20)


def measure(driver: Driver, case: Case) -> Figures:
    """Time one run from its start to its answer."""
    steps = case["steps"]
    watch = Stopwatch()
    got = driver.flow(steps)
    return {"steps_per_s": steps / watch.seconds, "lost": got != steps}


WORKLOAD = Workload(
    name="flow",
    title="One durable function that does no-op steps one after another, each recorded",
    headline="steps_per_s",
    unit="steps/s",
    cases=cases,
    measure=measure,
    warm_up=warm_up,
)
