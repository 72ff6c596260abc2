"""Replays of flows: the time for a step of a long one, and how often a replay does the same.

The history of a flow of many asks stands in the journal, as its worker would have written it; what
is timed is what a worker does that takes it over: read it, and run the code to where it ends.

DBOS beside it, on SQLite: workflows that gather branches, forked from their last step.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import time
from collections.abc import Callable
from typing import Any

from agents.flows.history import LINES_MAX, Line
from agents.flows.pattern import advance, begun, dropped
from app.journal.schema.engine import connect
from app.journal.schema.rows import NewEntry
from app.journal.stores.flows import FlowStore
from app.journal.stores.streams import StreamStore
from bench import venvs
from bench.contestants.dbos import PINS
from bench.journals import journals
from celery_agents.contracts.flows.entries import HISTORY
from deploy.local.state import ROOT

#: Asks of the long flow: as many as a history may have, of whose lines one says that it began.
ASKS, REPEATS = LINES_MAX - 1, 3
BRANCHES, REPLAYS, SEED = 4, 100, 1
_AT_ONCE = 5_000
_RUN = "bench"


def main() -> None:
    """Print the figures, one line of JSON for each."""
    history = played(in_a_row, ASKS, random.Random(SEED))
    for name, url in journals():
        told = {"bench": "replays", "database": name, "steps": ASKS}
        print(json.dumps({**told, **_timed(url, history)}), flush=True)
    print(json.dumps({"bench": "replays", "contestant": "ours", **gathered()}), flush=True)
    print(json.dumps({"bench": "replays", "contestant": "dbos-sqlite", **_dbos()}), flush=True)


# -- flows


async def in_a_row(run: Any, told: int) -> int:
    """Ask so many times, each about the answer before."""
    value = 0
    for _ in range(told):
        value = await run.ask("add", value)
    return value


async def branches(run: Any, told: int) -> list[int]:
    """So many branches of two asks, side by side."""

    async def branch(number: int) -> int:
        return int(await run.ask("second", await run.ask("first", number)))

    return await asyncio.gather(*map(branch, range(told)))


def played(code: Callable[..., Any], told: int, order: random.Random) -> list[Line]:
    """Run a flow whose asks end one at a time in any order, each with one more than it was told."""
    instance = begun(code, _RUN, told, [])
    open_: dict[str, Any] = {}
    lines = [Line("started", "", 1.0, {"version": 1})]
    history: list[Line] = []
    while True:
        found = advance(instance, code, told, lines, 1.0)
        history += found.lines
        if found.outcome is not None:
            dropped(instance)
            return history
        open_ |= {member.key: member.input for member in found.members}
        key = order.choice([*open_])
        lines = [Line("done", key, 1.0, open_.pop(key) + 1)]


# -- the time for a step


def _timed(url: str, history: list[Line]) -> dict[str, float]:
    engine = connect(url)
    try:
        _written(StreamStore(engine), history)
        store, times = FlowStore(engine), []
        for _ in range(REPEATS):
            began, cpu = time.perf_counter(), time.process_time()
            told = [Line.of(line.kind, line.data) for line in store.history("", _RUN)]
            read = time.perf_counter()
            instance = begun(in_a_row, _RUN, ASKS, told)
            ended, used = time.perf_counter(), time.process_time() - cpu
            assert instance.done, "it is not at its end"
            assert instance.difference is None, str(instance.difference)
            dropped(instance)
            times.append((ended - began, read - began, used))
    finally:
        engine.dispose()
    whole, reading, used = (1e6 * min(column) / ASKS for column in zip(*times, strict=True))
    figures = {"us_per_step": whole, "of_it_reading": reading, "cpu_us_per_step": used}
    return {name: round(value, 2) for name, value in figures.items()}


def _written(store: StreamStore, history: list[Line]) -> None:
    stream = HISTORY + _RUN
    new = [NewEntry("", stream, line.kind, line.data, run_id=_RUN) for line in history]
    for start in range(0, len(new), _AT_ONCE):
        store.append("", stream, new[start : start + _AT_ONCE])


# -- whether it does the same


def gathered() -> dict[str, Any]:
    """Replay as many flows, each of whose asks ended in an order of its own, up to the last end."""
    asked_again, other = 0, 0
    for number in range(REPLAYS):
        order = random.Random(f"{SEED}/{number}")
        history = played(branches, BRANCHES, order)
        instance = begun(branches, _RUN, BRANCHES, history[:-1])
        found = advance(instance, branches, BRANCHES, [history[-1]._replace(commands=())], 1.0)
        same = found.outcome is not None and found.outcome.value == [n + 2 for n in range(BRANCHES)]
        other += not same or instance.difference is not None
        asked_again += len(found.members)
        dropped(instance)
    return {"replays": REPLAYS, "other_or_failed": other, "steps_made_again": asked_again}


def _dbos() -> dict[str, Any]:
    """The same of DBOS, in its own environment."""
    try:
        python = venvs.python_of("dbos", PINS)
    except RuntimeError as error:
        return {"left_out": str(error)}
    command = [str(python), "-m", "bench.contestants.dbos.replays", str(BRANCHES), str(REPLAYS)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told
