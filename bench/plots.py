"""Pictures of a run: ``python -m bench.plots RESULTS DIRECTORY``, where matplotlib is.

They are drawn from the lines of JSON alone, so an old run can be drawn again.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

_GREY = "#8a8f98"
_COLOURS = {"ours": "#0b6e4f", "celery": "#b5651d"}
_NAMES = {
    "ours": "celery-agents",
    "celery": "Celery",
    "dbos": "DBOS",
    "langgraph": "LangGraph",
    "saq": "SAQ",
    "sqlite": "SQLite",
    "postgres": "PostgreSQL",
}
_LARGE = 100  # from there on figures are whole numbers
Line = dict[str, Any]


def draw(results: Path, directory: Path) -> list[Path]:
    """The pictures for which the run has figures; their files."""
    rows = _last(json.loads(line) for line in results.read_text().splitlines())
    directory.mkdir(parents=True, exist_ok=True)
    made = []
    for name, (workload, picture) in _PICTURES.items():
        of_it = [row for row in rows if row["workload"] == workload and row["median"] is not None]
        if not of_it:
            continue
        figure, axes = plt.subplots(figsize=(8, 4.5), dpi=120, layout="constrained")
        picture(axes, of_it)
        axes.set_title(of_it[0]["title"], loc="left", size=10)
        axes.spines[["top", "right"]].set_visible(False)
        told = f"{of_it[0]['machine']['cores']} cores, median of {len(of_it[0]['rounds'])} rounds"
        figure.text(0.995, 0.005, told, ha="right", color=_GREY, size=7)
        made.append(directory / f"{name}.png")
        figure.savefig(made[-1])
        plt.close(figure)
    return made


def _last(lines: Iterable[Line]) -> list[Line]:
    """The newest line of each contestant and case."""
    found: dict[str, Line] = {}
    for line in lines:
        found[json.dumps([line["workload"], line["contestant"], line["case"]])] = line
    return list(found.values())


def _colour(row: Line) -> str:
    return _COLOURS.get(row["contestant"].partition("-")[0], _GREY)


def _name(row: Line) -> str:
    first, _, rest = row["contestant"].partition("-")
    words = [_NAMES.get(first, first), *([_NAMES.get(rest, rest)] if rest else [])]
    return ", ".join(words)


def _best(rows: Sequence[Line]) -> list[Line]:
    """Each contestant's best case, the best contestant last."""
    more = rows[0]["more_is_better"]
    ordered = sorted(rows, key=lambda row: row["median"], reverse=not more)
    best = {row["contestant"]: row for row in ordered}
    return sorted(best.values(), key=lambda row: row["median"], reverse=not more)


def _bars(axes: Any, rows: Sequence[Line]) -> None:
    """A bar for each contestant, the best one on top; whiskers span the rounds."""
    ordered = _best(rows)
    medians = [row["median"] for row in ordered]
    rounds = [[r["figures"][row["headline"]] for r in row["rounds"]] for row in ordered]
    spread = [
        [m - min(r) for m, r in zip(medians, rounds, strict=True)],
        [max(r) - m for m, r in zip(medians, rounds, strict=True)],
    ]
    bars = axes.barh(
        [_name(row) + _settings(row) for row in ordered],
        medians,
        xerr=spread if len(rounds[0]) > 1 else None,
        color=[_colour(row) for row in ordered],
        ecolor="#444",
        capsize=2,
    )
    digits = "{:,.0f}" if max(medians) >= _LARGE else "{:,.3g}"
    axes.bar_label(bars, fmt=digits, padding=4, size=8)
    axes.set_xlabel(rows[0]["unit"] + ("" if rows[0]["more_is_better"] else " (less is better)"))
    axes.margins(x=0.12)


def _settings(row: Line) -> str:
    """Return those settings of a case that were the contestant's own choice."""
    case = row["case"]
    if "concurrency" in case:
        return f", {case['concurrency']} at a time"
    return f", {case['way']}" if "way" in case else ""


def _lines(axes: Any, rows: Sequence[Line], parameter: str) -> None:
    """A line for each contestant and way over one parameter of the case."""
    styles: dict[str, Any] = {}
    for label in dict.fromkeys(_label(row) for row in rows):
        mine = [row for row in rows if _label(row) == label]
        points = sorted((row["case"][parameter], row["median"]) for row in mine)
        colour = _colour(mine[0])
        style = styles.setdefault(colour, itertools.cycle(["-", "--", "-.", ":"]))
        axes.plot(
            *zip(*points, strict=True),
            marker="o",
            markersize=4,
            label=label,
            color=colour,
            linestyle=next(style),
        )
    axes.set_ylabel(rows[0]["unit"])
    axes.legend(frameon=False, fontsize=8, handlelength=3)


def _label(row: Line) -> str:
    way = row["case"].get("way")
    return _name(row) if way is None else f"{_name(row)}, {way}"


def _slots(axes: Any, rows: Sequence[Line]) -> None:
    told = [row for row in rows if _colour(row) != _GREY]
    _lines(axes, told, "concurrency")
    most = max(row["case"]["concurrency"] for row in told)
    axes.plot([0, most], [0, 5 * most], color="#ddd", zorder=0)  # five steps a second and slot
    axes.set_ylim(0, 1.15 * max(row["median"] for row in told))
    axes.set_xlabel("steps at a time (grey: nothing but the wait)")


def _fan_out(axes: Any, rows: Sequence[Line]) -> None:
    _lines(axes, rows, "members")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("members")


def _growth(axes: Any, rows: Sequence[Line]) -> None:
    _lines(axes, [row for row in rows if "rows" in row["case"]], "rows")
    axes.set_xscale("symlog", linthresh=10_000)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("finished steps in the journal")


_PICTURES: dict[str, tuple[str, Callable[[Any, Sequence[Line]], None]]] = {
    **{name: (name, _bars) for name in ("noop", "roundtrip", "waiting", "chain", "vote")},
    "waiting-slots": ("waiting", _slots),
    "fanout": ("fanout", _fan_out),
    "enqueue": ("enqueue", _bars),
    "growth": ("growth", _growth),
}

if __name__ == "__main__":
    for made in draw(Path(sys.argv[1]), Path(sys.argv[2])):
        print(made)
