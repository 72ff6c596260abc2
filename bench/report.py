"""Printed and kept results: a table for each workload, a line of JSON for each of its rows."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from bench.contestant import Case, Contestant
from bench.rounds import Round
from bench.workload import Workload

#: What the first version of this system did: requests a second, and one alone.
SEED = "For comparison, the seed of this project: 68.1 requests/s, p50 20.3 ms."


@dataclass
class Row:
    """One contestant in one case, with all its rounds."""

    workload: Workload
    contestant: Contestant
    case: Case
    rounds: list[Round] = field(default_factory=list)

    def median(self, figure: str) -> float | None:
        """The median of a figure over the rounds; None when a round failed."""
        found = [r.figures.get(figure) for r in self.rounds]
        known = [value for value in found if value is not None]
        return median(known) if known and len(known) == len(self.rounds) else None

    def used(self, by: str, figure: str) -> float | None:
        """The median of what its workers or its client used."""
        good = [getattr(getattr(r, by), figure) for r in self.rounds if r.failure is None]
        return median(good) if good else None

    @property
    def headline(self) -> float | None:
        """The median of the workload's main figure; None when a round failed."""
        return self.median(self.workload.headline)

    @property
    def lost(self) -> int:
        """Results that were missing or wrong, over all rounds."""
        return round(sum(r.figures.get("lost", 0) for r in self.rounds))

    @property
    def failure(self) -> str | None:
        """The first failure among the rounds, if there is one."""
        return next((r.failure for r in self.rounds if r.failure is not None), None)

    def as_json(self) -> str:
        """The row with every round's raw figures."""
        return json.dumps(
            {
                "workload": self.workload.name,
                "contestant": self.contestant.name,
                "case": dict(self.case),
                "settings": self.contestant.settings(self.workload.name, self.case),
                "title": self.workload.title,
                "headline": self.workload.headline,
                "unit": self.workload.unit,
                "more_is_better": self.workload.more_is_better,
                "median": self.headline,
                "lost": self.lost,
                "rounds": [asdict(r) for r in self.rounds],
                "machine": machine(),
            }
        )


def machine() -> dict[str, Any]:
    """Describe what the figures depend on beside the programs."""
    return {
        "cores": os.cpu_count(),
        "load": [round(n, 2) for n in os.getloadavg()],
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def best(rows: Sequence[Row]) -> Row | None:
    """The row with the best headline among those without a failure that lost nothing."""
    good = [row for row in rows if row.headline is not None and not row.lost]
    if not good:
        return None
    pick = max if good[0].workload.more_is_better else min
    return pick(good, key=lambda row: row.headline or 0.0)


def table(rows: Sequence[Row]) -> str:
    """One workload's rows as text; ratios are to the best row of bare Celery with the case."""
    workload = rows[0].workload
    titles = ["contestant", "case", workload.unit, "of celery", *workload.columns.values()]
    titles += [
        "worst to best",
        "worker MB",
        "client MB",
        "worker CPU s",
        "client CPU s",
        "settings",
    ]
    cells = [titles, *(_cells(row, _base(rows, row)) for row in rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(titles))]
    text = (2, len(titles) - 1)  # the first two columns and the last are words
    lines = [
        "  ".join(
            cell.ljust(width) if n < text[0] or n == text[1] else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    notes = [f"{row.contestant.name} FAILED: {row.failure}" for row in rows if row.failure]
    notes += [workload.note] if workload.note else []
    return "\n".join([f"{workload.name}: {workload.title}", *lines, *notes])


def _base(rows: Sequence[Row], row: Row) -> float | None:
    """Bare Celery's best figure for the same work, whatever its settings and its way."""
    wanted = _work(row.case)
    celery = [
        other
        for other in rows
        if other.contestant.family == "celery" and wanted.items() <= dict(other.case).items()
    ]
    found = best(celery)
    return None if found is None else found.headline


def _work(case: Case) -> dict[str, Any]:
    """Return the part of a case that says what is asked for, without how."""
    return {key: value for key, value in case.items() if key not in {"concurrency", "way"}}


def _cells(row: Row, base: float | None) -> list[str]:
    value = row.headline
    ratio = value / base if value is not None and base else None
    figures = [r.figures[row.workload.headline] for r in row.rounds if r.failure is None]
    ordered = sorted(figures, reverse=not row.workload.more_is_better)
    spread = f"{_short(ordered[0])} to {_short(ordered[-1])}" if figures else ""
    lost = f" LOST {row.lost}" if row.lost else ""
    return [
        row.contestant.name,
        " ".join(f"{k}={v}" for k, v in row.case.items()) + lost,
        "failed" if row.failure else _short(value),
        "" if ratio is None else f"{ratio:.2f}",
        *(_short(row.median(name)) for name in row.workload.columns),
        spread,
        *(_short(row.used(by, "peak_mb")) for by in ("worker", "client")),
        *(_short(row.used(by, "cpu_s")) for by in ("worker", "client")),
        row.contestant.settings(row.workload.name, row.case),
    ]


def _short(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004
