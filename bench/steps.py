"""No-op steps with results: journaled ones against bare Celery, in turns on the same broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from celery import Celery

from celery_agents import Client
from deploy.local.stack import fresh_directory, local_stack
from deploy.local.state import ROOT

STEPS = 2_000
ROUNDS = 3
_BARE = "bench.bare_app"


def main() -> None:
    os.environ["AGENTS_MODULES"] = json.dumps(["bench.noop_agents"])
    with ExitStack() as stack:
        directory = stack.enter_context(fresh_directory())
        ours = stack.enter_context(local_stack(directory=directory))
        bare = stack.enter_context(_bare_worker(ours.environ, directory))
        client = stack.enter_context(Client(ours.redis_url))
        rounds = {
            "bare celery, threads": _rates(lambda: _bare_run(bare)),
            "journaled step, threads": _rates(lambda: _our_run(client)),
        }
    _print(rounds)


def _rates(run: Callable[[], None]) -> list[float]:
    run()  # warm
    found: list[float] = []
    for _ in range(ROUNDS):
        began = time.monotonic()
        run()
        found.append(STEPS / (time.monotonic() - began))
    return found


def _our_run(client: Client) -> None:
    for run in client.ask.many("noop", range(STEPS)):
        run.get(timeout=120)


def _bare_run(app: Celery) -> None:
    for result in [app.send_task(f"{_BARE}.noop", (n,), queue="bare") for n in range(STEPS)]:
        result.get(timeout=120)


class _bare_worker:  # noqa: N801 - used as a context manager, like a function
    """A worker of an app with nothing of ours, on another database of the same broker."""

    def __init__(self, environ: dict[str, str], directory: Path) -> None:
        self._url = environ["REDIS_URL"].removesuffix("/0") + "/1"
        self._env = {**environ, "BARE_URL": self._url}
        self._log = directory / "bare.log"

    def __enter__(self) -> Celery:
        command = [sys.executable, "-m", "celery", "-A", _BARE, "worker", "-P", "threads"]
        options = ["-c", "32", "-Q", "bare", "--without-mingle", "--without-gossip"]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [*command, *options], env=self._env, cwd=ROOT, stdout=log, stderr=log
            )
        app = Celery(broker=self._url, backend=self._url)
        app.send_task(f"{_BARE}.noop", (0,), queue="bare").get(timeout=30)
        return app

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=60)


def _print(rounds: dict[str, list[float]]) -> None:
    base = median(rounds["bare celery, threads"])
    print(f"{STEPS} no-op steps with results, {ROUNDS} rounds")
    print(f"{'contestant':<28}{'steps/s, median':>18}{'ratio':>8}")
    for name, rates in rounds.items():
        print(f"{name:<28}{median(rates):>18.0f}{median(rates) / base:>8.2f}")
    print(json.dumps({"bench": "steps", **{n: round(median(r)) for n, r in rounds.items()}}))
