"""A worker is killed in the middle of a step: how long until the step runs elsewhere."""

from __future__ import annotations

from typing import Any

from bench.contestant import Case, Contestant
from bench.driver import Driver
from bench.workload import Figures, Workload


def cases(_: Contestant, __: bool) -> list[dict[str, Any]]:
    """Two workers, one of which is killed."""
    return [{"workers": 2}]


def measure(driver: Driver, _: Case) -> Figures:
    """Time a step from the kill to its next run."""
    return {"seconds": driver.recovery()}


WORKLOAD = Workload(
    name="recovery",
    title="SIGKILL to the worker that runs a step, until the step runs on the other one",
    headline="seconds",
    unit="s",
    cases=cases,
    measure=measure,
    more_is_better=False,
    workers=2,
    note=(
        "Bare Celery on Redis gives such a step back after its visibility_timeout (an hour, if "
        "nothing is set), and one acknowledged early, its default, never."
    ),
)
