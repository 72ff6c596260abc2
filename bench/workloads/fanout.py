"""One run that fans out to many no-op steps, and a join that counts them."""

from __future__ import annotations

from typing import Any

from bench.contestant import Case, Contestant
from bench.driver import Driver
from bench.workload import Figures, Stopwatch, Workload

_MEMBERS = (10, 100, 1_000, 10_000)
_QUICK = (10, 100)


def cases(contestant: Contestant, quick: bool) -> list[dict[str, Any]]:
    """Each number of members in each way of the contestant that bears it."""
    return [
        {"members": members, "way": way}
        for members in (_QUICK if quick else _MEMBERS)
        for way, most in contestant.fan_out.items()
        if members <= most
    ]


def measure(driver: Driver, case: Case) -> Figures:
    """Time one run with its join."""
    members = case["members"]
    watch = Stopwatch()
    counted = driver.fan_out(members, case["way"])
    seconds = watch.seconds
    return {
        "seconds": seconds,
        "members_per_s": members / seconds,
        "lost": members - counted,
    }


WORKLOAD = Workload(
    name="fanout",
    title="Fan-out to no-op steps and a join that counts them, sent to read",
    headline="seconds",
    unit="s",
    cases=cases,
    measure=measure,
    more_is_better=False,
    columns={"members_per_s": "members/s"},
)
