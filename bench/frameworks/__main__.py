"""A lead with three sub-agents at once, killed at random moments: what is paid, and done, twice.

Each contestant has one process, ten runs at a time, and each ten four SIGKILLs of that process,
which is started again at once. Told are, for a run, the requests that were paid; the least that a
killed process can have paid, which is what a run needs and what was under way at a kill; tools of
whose findings a model had been told and that ran again, and those that had only ended; and keys of
two different requests.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.frameworks.contestants import RIVALS, SOON_S, TeamProcess, made
from bench.frameworks.provider import EXPERTS, NEEDED, Till
from tests.integration.harness import eventually
from tests.support.redis_server import RedisServer
from tests.support.wheel import Site

TOGETHER, KILLS = 10, 4
#: Seconds after which a process that serves is killed.
PAUSE_S = (0.1, 1.6)
_WHY_MAX = 200
NAMES = [f"{who}-{framework}" for framework in RIVALS for who in ("ours", "dbos")]


def main() -> None:
    """Print a line of JSON for each contestant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="of each, ten at a time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", choices=NAMES)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers and workers end with us
    with tempfile.TemporaryDirectory() as held, RedisServer(Path(held) / "broker") as broker:
        extras = "worker,openai-agents,pydantic-ai"
        site = Site(Path(held) / "site", extras, "pydantic-ai-slim[openai]")
        for name in given.only or NAMES:
            folder = Path(held) / name
            folder.mkdir()
            figures = _killed(name, given, site, broker, folder)
            told = {"bench": "frameworks", "contestant": name, **figures}
            print(json.dumps(told), flush=True)


def _killed(
    name: str, given: argparse.Namespace, site: Site, broker: RedisServer, folder: Path
) -> Mapping[str, Any]:
    rng = random.Random(given.seed)
    till = Till(str(given.seed))
    threading.Thread(target=till.serve_forever, daemon=True).start()
    book = folder / "book"
    env = {"TEAM_URL": till.url, "TEAM_BOOK": str(book)}
    suffered = under_way = 0
    ids = [f"r{n}" for n in range(given.runs)]
    try:
        with made(name, site, broker, folder, env) as one:
            one.start()
            for first in range(0, len(ids), TOGETHER):
                some = ids[first : first + TOGETHER]
                one.ask(some)
                for _ in range(KILLS):
                    time.sleep(rng.uniform(*PAUSE_S))
                    suffered += len(set(some) - one.ended().keys())
                    under_way += _kill(one, till)
                    one.start()
                _wait(one, some)
            values = one.ended()
    finally:
        till.close()
    wrong = [values[id_] for id_ in ids if values[id_] != f"{id_}: {EXPERTS} results"]
    return {
        "runs": len(ids),
        "kills_a_run": round(suffered / len(ids), 2),
        "needed": NEEDED,
        "paid_mean": round(till.paid.total() / len(ids), 2),
        "least_mean": round(NEEDED + under_way / len(ids), 2),
        "paid_most": max(till.paid.values()),
        "failed": len(wrong),
        "why": Counter(str(value)[:_WHY_MAX] for value in wrong).most_common(1),
        "keys": len(till.bodies_of),
        "keys_of_two_requests": sum(len(bodies) > 1 for bodies in till.bodies_of.values()),
        **_tools(book, till.told),
    }


def _kill(one: TeamProcess, till: Till) -> int:
    """Kill it; the requests that were under way as it died."""
    before = till.under_way()
    one.kill()
    lost = before | till.under_way()
    eventually(lambda: not till.under_way(), "the provider has done with them")
    return len(lost)


def _wait(one: TeamProcess, ids: list[str]) -> None:
    def over() -> bool:
        time.sleep(0.2)
        return set(ids) <= one.ended().keys()

    eventually(over, f"runs have ended: {sorted(set(ids) - one.ended().keys())}", timeout_s=SOON_S)


def _tools(book: Path, told: Mapping[str, float]) -> Mapping[str, int]:
    """How tools ran, by what they wrote.

    A tool is finished when a model is told what it found. One that has ended and was not told yet
    may be on its way to the journal: how many of those ran again is told beside.
    """
    lines = [line.split() for line in book.read_text().splitlines()]
    begun = [(about, float(at)) for at, word, about in lines if word == "begins"]
    ended: dict[str, float] = {}
    for at, word, about in lines:
        if word == "ended":
            ended.setdefault(about, float(at))
    return {
        "tools": len({about for about, _ in begun}),
        "tools_begun": len(begun),
        "finished_and_run_again": sum(at > told.get(about, at) for about, at in begun),
        "ended_and_run_again": sum(at > ended.get(about, at) for about, at in begun),
    }


if __name__ == "__main__":
    main()
