"""``./run bench``: arguments, the order of the rounds, what is told while they run."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import (
    actors,
    adaptive,
    api,
    audited,
    batches,
    builtin_tools,
    crowd,
    decide,
    due,
    entries,
    goals,
    governed,
    page,
    replays,
    report,
    roster,
    tenants,
    tools,
    traced,
    venvs,
    workloads,
)
from bench.contestant import Contestant
from bench.contestants.ours import with_pool
from bench.report import Row
from bench.rounds import play
from bench.servers import Servers
from bench.workload import Workload
from deploy.local.stack import fresh_directory
from deploy.local.state import ROOT, STATE

RESULTS = STATE / "bench" / "results"
#: Those that run in this process: what they say of themselves, and what they do.
ALONE: dict[str, tuple[str, Callable[[], None]]] = {
    "api": ("POST /tasks beside plain FastAPI and Celery, and answers waited for", api.main),
    "audited": ("Acts a second that four processes write in one audit", audited.main),
    "crowd": ("A thousand asks at once before a provider's limit", crowd.main),
    "decide": ("CPU of one decision: 100 ballots under every rule", decide.main),
    "adaptive": ("The adaptive fallback against a seer and other policies", adaptive.main),
    "governed": ("What limits and budgets cost a step", governed.main),
    "replays": ("Replays of flows: the time for a step, and what DBOS does", replays.main),
    "due": ("A thousand flows that wake at once, and what sleepers cost a worker", due.main),
    "actors": ("Actors that are told sums, beside Celery with a lock and Ray", actors.main),
    "entries": ("Entries a second of four writers, and what a follower misses", entries.main),
    "batches": ("A map with slow inputs: a window, waves and the ideal", batches.main),
    "tenants": ("How tenants share the slots of a worker", tenants.main),
    "page": ("The page of a map of 10,000 in a browser, and `runs show` of 20,000", page.main),
    "traced": ("What telling traces costs a worker that is full", traced.main),
    "builtin-tools": ("A call of each built-in tool with its example", builtin_tools.main),
    "tools": ("A step's call of a tool that does nothing, by effects", tools.main),
}
PICTURES = ROOT / "docs" / "bench"
_SHOWN = PICTURES.relative_to(ROOT)
_MATPLOTLIB = ("matplotlib==3.11.2",)
_NAMES = (*workloads.NAMES, *ALONE)

_ABOUT = """\
Steps of celery-agents against other ways to run them, on this machine's loopback interface.

Rounds are played in turn: the first of every contestant, then the second of every one. Each has
empty servers (Redis with its append-only file synced every second, PostgreSQL with fsync on),
fresh workers and a client of its own; what is compared are medians. Contestants other than ours
and Celery live in environments of their own under .local/bench/venvs, made when first needed.
"""
_WORDS = """\
workloads:
{workloads}
contestants:
{contestants}

A contestant may be named by the beginning of its name: celery, ours. Tables go to standard output,
the progress to standard error, and every round's figures as lines of JSON to
.local/bench/results/. Figures of a machine that does other work mean little: the load is told.
"""


def main(argv: Sequence[str]) -> int:
    """Run the bench as the arguments say; return its exit code."""
    options = _parser().parse_args(argv)
    if options.list:
        print(_matrix())
        return 0
    if options.plot is not None:
        return _plot(options.plot)
    if unknown := [name for name in options.workloads if name not in _NAMES]:
        print(
            f"There is no workload {unknown[0]!r}. There are: {', '.join(_NAMES)}", file=sys.stderr
        )
        return 2
    try:
        chosen = _contestants(options)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    rounds = options.rounds or (1 if options.quick else 3)
    names = options.workloads or _NAMES
    for name, (_, play_alone) in ALONE.items():
        if name in names:
            play_alone()
    measured = [workloads.workload(name) for name in names if name not in ALONE]
    if measured:
        _play_all(measured, chosen, rounds, quick=options.quick, results=options.results)
    return 0


def _parser() -> argparse.ArgumentParser:
    told = {name: workloads.workload(name).title for name in workloads.NAMES}
    told |= {name: f"{title} (no contestants)" for name, (title, _) in ALONE.items()}
    words = _WORDS.format(
        workloads="\n".join(f"  {name:<10} {title}" for name, title in told.items()),
        contestants="\n".join(f"  {c.name}" for c in roster.ALL),
    )
    parser = argparse.ArgumentParser(
        prog="./run bench",
        description=_ABOUT,
        epilog=words,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("workloads", nargs="*", metavar="WORKLOAD", help="which; all when none is named")
    add("--contestants", metavar="A,B", help="who takes part; all when none is named")
    add("--rounds", type=int, metavar="N", help="rounds of each case (3; 1 with --quick)")
    add("--quick", action="store_true", help="a tenth of the work, one round: does it run at all?")
    add(
        "--pools",
        metavar="POOL[:SLOTS],...",
        help="ours with each of these pools (threads, prefork:4) instead of the Procfile's",
    )
    add("--results", type=Path, metavar="FILE", help="where the lines of JSON go")
    add("--plot", type=Path, metavar="FILE", help=f"draw the lines of JSON in FILE to {_SHOWN}")
    add("--list", action="store_true", help="who takes part in what, and leave")
    return parser


def _plot(results: Path) -> int:
    """Draw a run, in an environment that has matplotlib."""
    try:
        python = venvs.python_of("plots", _MATPLOTLIB)
    except RuntimeError as error:
        print(f"The environment for plots could not be made: {error}", file=sys.stderr)
        return 1
    command = [str(python), "-m", "bench.plots", str(results.resolve()), str(PICTURES)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def _contestants(options: argparse.Namespace) -> list[Contestant]:
    names = options.contestants
    found = list(roster.ALL) if names is None else roster.chosen(names.split(","))
    if options.pools is None:
        return found
    pools = options.pools.split(",")
    return [
        with_pool(one, pool) if one.family == "ours" else one
        for one in found
        for pool in (pools if one.family == "ours" else pools[:1])
    ]


def _matrix() -> str:
    lines = [f"{'':<20}" + " ".join(f"{name:>9}" for name in workloads.NAMES)]
    for one in roster.ALL:
        marks = ("x" if name in one.workloads else "" for name in workloads.NAMES)
        lines.append(f"{one.name:<20}" + " ".join(f"{mark:>9}" for mark in marks))
    return "\n".join(lines)


def _play_all(
    measured: Sequence[Workload],
    chosen: Sequence[Contestant],
    rounds: int,
    *,
    quick: bool,
    results: Path | None,
) -> None:
    pythons, left_out = _environments(chosen)
    path = results or RESULTS / time.strftime("%Y-%m-%d-%H%M%S.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"machine: {json.dumps(report.machine())}\n{report.SEED}\n")
    played: list[Row] = []
    with fresh_directory(STATE / "bench" / "runs") as directory, Servers(directory) as servers:
        for workload in measured:
            rows = [
                Row(workload, contestant, case)
                for contestant in chosen
                if contestant.name in pythons and workload.name in contestant.workloads
                for case in workload.cases(contestant, quick)
            ]
            for number in range(1, rounds + 1):
                for row in rows:
                    python = pythons[row.contestant.name]
                    row.rounds.append(play(servers, row.contestant, workload, row.case, python))
                    _progress(row, number, rounds)
            played += rows
            if rows:
                print(report.table(rows), end="\n\n", flush=True)
                with path.open("a") as file:
                    file.writelines(f"{row.as_json()}\n" for row in rows)
    if reached := goals.goals(played):
        print("ratios of this run:", *(f"  {goal}" for goal in reached), sep="\n", end="\n\n")
    for name, reason in left_out.items():
        print(f"LEFT OUT: {name}: {reason}")
    print(f"machine afterwards: {json.dumps(report.machine())}\nevery round's figures: {path}")


def _environments(chosen: Sequence[Contestant]) -> tuple[dict[str, Path], dict[str, str]]:
    """The Python of each contestant, and those that cannot have one with the reason."""
    pythons: dict[str, Path] = {}
    left_out: dict[str, str] = {}
    for one in chosen:
        try:
            pythons[one.name] = venvs.python_of(one.family, one.requires)
        except RuntimeError as error:
            left_out[one.name] = f"its environment could not be made: {error}"
    return pythons, left_out


def _progress(row: Row, number: int, rounds: int) -> None:
    last = row.rounds[-1]
    value = last.figures.get(row.workload.headline)
    why = (last.failure or "").partition("\n")[0]
    told = f"FAILED: {why}" if value is None else f"{value:.4g} {row.workload.unit}"
    case = " ".join(f"{k}={v}" for k, v in row.case.items())
    where = f"{row.workload.name} {number}/{rounds} {row.contestant.name}"
    print(f"{where} ({case}): {told}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
