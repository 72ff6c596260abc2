"""Steps while the journal is full of finished rows, and while many messages are queued."""

from __future__ import annotations

from typing import Any

from bench import workload
from bench.contestant import Case, Contestant
from bench.driver import Driver
from bench.workload import Figures, Stopwatch, Workload, lost, percentile

_ROWS = (0, 10_000, 100_000, 1_000_000)
_QUEUED = 100_000
#: Some seconds' worth: in less, one checkpoint of the database more or fewer decides.
_STEPS = 10_000
_ALONE = 200
#: How long a full queue is watched.
_WATCH_S = 15.0


def cases(_: Contestant, quick: bool) -> list[dict[str, Any]]:
    """Several numbers of rows in the journal, and a long queue."""
    if quick:
        return [{"rows": 0}, {"rows": 10_000}, {"queued": 5_000}]
    return [*({"rows": rows} for rows in _ROWS), {"queued": _QUEUED}]


def prepare(driver: Driver, case: Case) -> None:
    """The queue is filled while no worker is up."""
    driver.enqueue_many(case.get("queued", 0))


def warm_up(driver: Driver, case: Case) -> None:
    """The journal is filled by copies of what the worker has really done."""
    if "queued" in case:
        driver.urgent(0)
        return
    workload.warm_up(driver, case)
    driver.grow(case["rows"])


def measure(driver: Driver, case: Case) -> Figures:
    """Time steps beside the rows, or how fast the queue drains."""
    return _drained(driver) if "queued" in case else _grown(driver)


def _grown(driver: Driver) -> Figures:
    watch = Stopwatch()
    wrong = lost(driver.steps("noop", range(_STEPS)), range(_STEPS))
    seconds = watch.seconds
    times = []
    for value in range(_ALONE):
        watch = Stopwatch()
        wrong += driver.step(value) != value
        times.append(1000 * watch.seconds)
    return {"steps_per_s": _STEPS / seconds, **_percentiles(times), "lost": wrong}


def _drained(driver: Driver) -> Figures:
    """How fast the queue gets shorter, and how long urgent steps take meanwhile."""
    before, times = driver.depth(), []
    watch, left = Stopwatch(), before
    while watch.seconds < _WATCH_S and left > 0:
        one = Stopwatch()
        driver.urgent(0)
        times.append(1000 * one.seconds)
        left = driver.depth()
    done = before - left + len(times)
    return {"steps_per_s": done / watch.seconds, **_percentiles(times)}


def _percentiles(times: list[float]) -> Figures:
    return {"p50_ms": percentile(times, 0.5), "p99_ms": percentile(times, 0.99)}


WORKLOAD = Workload(
    name="growth",
    title="Steps/s, and p50 and p99 of one alone, with rows in the journal or messages queued",
    headline="steps_per_s",
    unit="steps/s",
    cases=cases,
    measure=measure,
    columns={"p50_ms": "ms p50", "p99_ms": "ms p99"},
    prepare=prepare,
    warm_up=warm_up,
    start_s=600.0,
    note="With messages queued, the one alone is urgent (priority 0) and overtakes them.",
)
