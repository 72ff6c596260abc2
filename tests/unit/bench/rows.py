"""Rows with given figures, for the tests of what is made of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench import roster, workloads
from bench.meter import Usage
from bench.report import Row
from bench.rounds import Round


def row(workload: str, contestant: str, figures: list[float | None], **case: Any) -> Row:
    """A row whose rounds have this headline; None is a round that failed."""
    [one] = roster.chosen([contestant])
    found = Row(workloads.workload(workload), one, case)
    for figure in figures:
        if figure is None:
            found.rounds.append(Round(failure="the client died\n--- log\nboom"))
        else:
            told = {found.workload.headline: figure, "lost": 0.0}
            found.rounds.append(Round(figures=told, worker=Usage(cpu_s=1.0, peak_mb=100.0)))
    return found


def losing(one: Row, lost: float = 3.0) -> Row:
    """The row, of whose last round so many results are missing."""
    one.rounds[-1] = replace(one.rounds[-1], figures={**one.rounds[-1].figures, "lost": lost})
    return one
