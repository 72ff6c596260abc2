"""Pictures of a run: ``python -m bench.plots RESULTS DIRECTORY``, where matplotlib is.

They are drawn from the lines of JSON alone, so an old run can be drawn again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

_OURS, _CELERY, _OTHERS = "#0b6e4f", "#b5651d", "#8a8f98"
Line = dict[str, Any]


def draw(results: Path, directory: Path) -> list[Path]:
    """A picture for each workload of the run; the files."""
    rows = _last(json.loads(line) for line in results.read_text().splitlines())
    directory.mkdir(parents=True, exist_ok=True)
    made = []
    for workload in dict.fromkeys(row["workload"] for row in rows):
        of_it = [row for row in rows if row["workload"] == workload and row["median"] is not None]
        if not of_it:
            continue
        figure, axes = plt.subplots(figsize=(8, 4.5), dpi=120, layout="constrained")
        _PICTURES.get(workload, _bars)(axes, of_it)
        axes.spines[["top", "right"]].set_visible(False)
        machine = of_it[0]["machine"]
        figure.text(0.995, 0.005, f"{machine['cores']} cores", ha="right", color=_OTHERS, size=7)
        path = directory / f"{workload}.png"
        figure.savefig(path)
        plt.close(figure)
        made.append(path)
    return made


def _last(lines: Any) -> list[Line]:
    """The newest line of each contestant and case."""
    found: dict[str, Line] = {}
    for line in lines:
        found[json.dumps([line["workload"], line["contestant"], line["case"]])] = line
    return list(found.values())


def _colour(name: str) -> str:
    if name.startswith("ours"):
        return _OURS
    return _CELERY if name.startswith("celery") else _OTHERS


def _shown(name: str) -> str:
    return name.replace("ours", "celery-agents").replace("celery-threads", "Celery, threads")


def _best(rows: Sequence[Line]) -> list[Line]:
    """Each contestant's best case."""
    best: dict[str, Line] = {}
    for row in rows:
        pick = max if row["more_is_better"] else min
        known = best.get(row["contestant"], row)
        best[row["contestant"]] = pick(known, row, key=lambda one: one["median"])
    return list(best.values())


def _bars(axes: Any, rows: Sequence[Line]) -> None:
    """A bar for each contestant's best case, the best one on top; whiskers span the rounds."""
    better = rows[0]["more_is_better"]
    ordered = sorted(_best(rows), key=lambda row: row["median"], reverse=not better)
    names = [_shown(row["contestant"]) for row in ordered]
    medians = [row["median"] for row in ordered]
    rounds = [[r["figures"][row["headline"]] for r in row["rounds"]] for row in ordered]
    spread = [
        [m - min(r) for m, r in zip(medians, rounds, strict=True)],
        [max(r) - m for m, r in zip(medians, rounds, strict=True)],
    ]
    colours = [_colour(row["contestant"]) for row in ordered]
    bars = axes.barh(names, medians, xerr=spread, color=colours, ecolor="#444", capsize=2)
    axes.bar_label(bars, fmt="{:,.3g}" if medians[-1] < 100 else "{:,.0f}", padding=4, size=8)  # noqa: PLR2004
    axes.set_title(rows[0]["title"], loc="left", size=10)
    axes.set_xlabel(rows[0]["unit"] + ("" if better else " (less is better)"))
    axes.margins(x=0.12)


def _lines(
    axes: Any, rows: Sequence[Line], parameter: str, name: Callable[[Line], str] | None = None
) -> None:
    """A line for each contestant over one parameter of the case."""
    told = name or (lambda row: _shown(row["contestant"]))
    styles = iter(["-", "--", "-.", ":"] * len(rows))
    for label in dict.fromkeys(told(row) for row in rows):
        points = sorted(
            (row["case"][parameter], row["median"]) for row in rows if told(row) == label
        )
        first = next(row for row in rows if told(row) == label)
        axes.plot(
            *zip(*points, strict=True),
            marker="o",
            label=label,
            color=_colour(first["contestant"]),
            linestyle=next(styles),
        )
    axes.set_title(rows[0]["title"], loc="left", size=10)
    axes.set_ylabel(rows[0]["unit"])
    axes.legend(frameon=False, fontsize=8)


def _waiting(axes: Any, rows: Sequence[Line]) -> None:
    _lines(axes, rows, "concurrency")
    most = max(row["case"]["concurrency"] for row in rows)
    axes.plot([0, most], [0, 5 * most], color="#ddd", zorder=0)  # five steps a second and slot
    axes.set_ylim(0, 1.15 * max(row["median"] for row in rows))
    axes.set_xlabel("steps at a time (grey: nothing but the wait)")


def _fan_out(axes: Any, rows: Sequence[Line]) -> None:
    _lines(axes, rows, "members", lambda row: f"{_shown(row['contestant'])}, {row['case']['way']}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("members")


def _growth(axes: Any, rows: Sequence[Line]) -> None:
    _lines(axes, [row for row in rows if "rows" in row["case"]], "rows")
    axes.set_xscale("symlog", linthresh=10_000)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("finished steps in the journal")


_PICTURES: dict[str, Callable[[Any, Sequence[Line]], None]] = {
    "waiting": _waiting,
    "fanout": _fan_out,
    "growth": _growth,
}

if __name__ == "__main__":
    for made in draw(Path(sys.argv[1]), Path(sys.argv[2])):
        print(made)
