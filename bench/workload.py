"""A workload. Standard library alone: it also runs in the contestants' environments."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.contestant import Case, Contestant
from bench.driver import Driver

Figures = dict[str, float]


def warm_up(driver: Driver, case: Case) -> None:  # noqa: ARG001
    """Before anything is measured: connections are open, code is loaded, children are up."""
    driver.step(0)  # the workers are ready once they answer
    driver.steps("noop", range(100))


@dataclass(frozen=True)
class Workload:
    """Work that a client asks for, and the figures that it times.

    ``cases`` gives the parameters to try with one contestant (``quick``: smaller ones);
    ``measure`` runs one case and gives its figures, of which ``headline`` is compared.
    """

    name: str
    title: str
    headline: str
    unit: str
    cases: Callable[[Contestant, bool], Sequence[dict[str, Any]]]
    measure: Callable[[Driver, Case], Figures]
    more_is_better: bool = True
    #: Figures that are shown beside the headline, with their titles.
    columns: dict[str, str] = field(default_factory=dict)
    #: Done by the client before it measures.
    warm_up: Callable[[Driver, Case], None] = warm_up
    #: Done by a client of its own before the workers start.
    prepare: Callable[[Driver, Case], None] | None = None
    #: How many workers are started with each command.
    workers: int = 1
    #: What is printed under the table.
    note: str = ""
    #: A start of the workers with its warm-up that takes longer, and a round that does, failed.
    start_s: float = 60.0
    limit_s: float = 300.0


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since it was made."""
        return time.perf_counter() - self._began


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the least value that ``share`` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(1, math.ceil(len(ordered) * share)) - 1]


def lost(got: Sequence[Any], expected: Sequence[Any]) -> int:
    """How many results are missing or wrong."""
    missing = max(0, len(expected) - len(got))
    return missing + sum(bool(a != b) for a, b in zip(got, expected, strict=False))
