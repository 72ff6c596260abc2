"""Policies: steps a second of the same tree without any, under three limits, and with budgets too.

A real worker on servers of its own asks an HTTP service by three agents, of which one is under
nothing, one under limits, one under limits and budgets, for a tenant. They are asked in turn, many
times, with a journal in each database. The policies refuse nothing: what is measured is what asking
costs. On a machine that does other work CPU a step is the steadier figure: that of the worker,
which ends its rate, and that of Redis and of PostgreSQL.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import NamedTuple

import psutil

from bench.journals import journals
from bench.one_worker import one_worker
from deploy.local.servers import LOOPBACK, free_port
from tests.integration.harness import Stack

STEPS, WARM, ROUNDS, CONCURRENCY, SOON_S = 500, 300, 15, 200, 300.0
_MANY = 1_000_000_000
_CONFIG = f"""
[limits.rate]
covers = ["agent:limits", "agent:all"]
requests_per_minute = {_MANY}
burst_s = 60.0

[limits.tokens]
covers = ["agent:limits", "agent:all"]
tokens_per_minute = {_MANY}

[limits.slots]
covers = ["agent:limits", "agent:all"]
concurrent = 100_000

[budgets.company]
covers = ["agent:all"]
calls = {_MANY}
every = "month"

[budgets.customer]
covers = ["agent:all"]
per = "tenant"
calls = {_MANY}
every = "day"
"""
#: The agents, and whose runs they are asked in.
VARIANTS = {"none": None, "limits": None, "all": "acme"}


class Round(NamedTuple):
    """The figures of one round: a second, and microseconds of CPU a step."""

    steps_per_s: float
    worker_us: float
    servers_us: float

    def __str__(self) -> str:
        told = f"{self.steps_per_s:7.1f} steps/s, CPU a step: worker {self.worker_us:.0f} us"
        return f"{told}, servers {self.servers_us:.0f} us"


def main() -> None:
    """Print what each variant did, and its share of what is done without policies."""
    with _service() as url:
        for database, journal in journals():
            _play(database, journal, url)


def _play(database: str, journal: str, url: str) -> None:
    found: dict[str, list[Round]] = {name: [] for name in VARIANTS}
    agents = [f'[agents.{name}]\nkind = "http"\nurl = "{url}"\n' for name in VARIANTS]
    slots = ("--concurrency", str(CONCURRENCY))
    with one_worker(*slots, config="".join(agents) + _CONFIG, url=journal) as stack:
        for name in VARIANTS:
            _done(stack, name, WARM)
        for number in range(ROUNDS):
            for name in VARIANTS if number % 2 else reversed(VARIANTS):
                found[name].append(_round(stack, name))
                print(f"{database:<10} {name:<6} {found[name][-1]}", flush=True)
    told: dict[str, object] = {"bench": "governed", "database": database}
    for name in ("limits", "all"):
        pairs = [*zip(found["none"], found[name], strict=True)]
        told[name] = _middle(b.steps_per_s / a.steps_per_s for a, b in pairs)
        told[f"{name}_by_cpu"] = _middle(a.worker_us / b.worker_us for a, b in pairs)
    for name, rounds in found.items():
        told[f"{name}_us"] = [round(min(figures)) for figures in zip(*rounds, strict=True)][1:]
    print(json.dumps(told), flush=True)


def _middle(ratios: Iterable[float]) -> float:
    return round(median(ratios), 3)


def _round(stack: Stack, name: str) -> Round:
    before, began = _used(stack), time.monotonic()
    _done(stack, name, STEPS)
    took_s, after = time.monotonic() - began, _used(stack)
    worker, servers = (1e6 * (b - a) / STEPS for a, b in zip(before, after, strict=True))
    return Round(STEPS / took_s, worker, servers)


def _used(stack: Stack) -> tuple[float, float]:
    """CPU seconds of the worker, and of Redis and PostgreSQL, up to now."""
    about = stack.redis.info("cpu")
    redis = about["used_cpu_user"] + about["used_cpu_sys"]
    ours = psutil.Process().children(recursive=True)
    journal = sum(_cpu_s(process) for process in ours if process.name() == "postgres")
    return _cpu_s(psutil.Process(stack.workers[0].pid)), redis + journal


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _done(stack: Stack, name: str, steps: int) -> None:
    runs = stack.client.ask.many(name, [*range(steps)], tenant=VARIANTS[name])
    stack.client.runs.collect(runs, timeout=SOON_S)


@contextmanager
def _service() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "bench.model_server", str(port)]
    with subprocess.Popen(command) as server:
        try:
            yield f"http://{LOOPBACK}:{port}/ask"
        finally:
            server.terminate()
