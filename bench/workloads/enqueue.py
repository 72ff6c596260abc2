"""Sending no-op steps while no worker is up: one by one, and many in few writes."""

from __future__ import annotations

from typing import Any

from bench.contestant import Case, Contestant
from bench.driver import Driver
from bench.workload import Figures, Stopwatch, Workload

_WARM_UP = 100


def cases(contestant: Contestant, quick: bool) -> list[dict[str, Any]]:
    """5,000 messages in each way that the contestant can send."""
    return [{"messages": 500 if quick else 5000, "way": way} for way in contestant.enqueue]


def warm_up(driver: Driver, case: Case) -> None:
    """The connection is open."""
    driver.enqueue(_WARM_UP, case["way"])


def measure(driver: Driver, case: Case) -> Figures:
    """Time the sending."""
    watch = Stopwatch()
    driver.enqueue(case["messages"], case["way"])
    return {"messages_per_s": case["messages"] / watch.seconds}


WORKLOAD = Workload(
    name="enqueue",
    title="No-op steps sent, with nobody to run them",
    headline="messages_per_s",
    unit="messages/s",
    cases=cases,
    measure=measure,
    warm_up=warm_up,
    workers=0,
)
