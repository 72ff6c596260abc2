"""Flows that sleep, all due at once: what they cost a worker meanwhile, and how late they wake.

Two workers; a moment before the time comes one of them is killed, and Redis is emptied.
"""

from __future__ import annotations

import json
import time

import psutil
from sqlalchemy import bindparam, func, select

from app.journal.schema.engine import connect
from app.journal.schema.models import Entry, Step, Worker
from bench.journals import journals
from bench.one_worker import QUIET, one_worker
from bench.sleepers import copy
from bench.workload import percentile
from celery_agents import names
from celery_agents.contracts.outcome import State
from tests.integration.harness import Stack, eventually

#: As in all rounds of other benches: lines of each step are not what is measured.
_WARNINGS = ("--loglevel", "WARNING")
_MODULES = {"AGENTS_MODULES": "bench.sleeping"}
FLOWS, SLEEPERS, BEGUN, BATCH, SOON_S, WORKERS = 1_000, 100_000, 20_000, 1_000, 600.0, 2
#: A year.
LONG_S = 365 * 86_400.0
#: Before the time comes: one is killed, then Redis is emptied.
KILLED_S, EMPTIED_S = 0.5, 0.3


def main() -> None:
    """Print both databases' figures."""
    for name, url in journals():
        for faults in (False, True):
            told = {"bench": "due", "database": name, "faults": faults}
            print(json.dumps(told | due_at_once(url, faults=faults)), flush=True)
        print(json.dumps({"bench": "due", "database": name} | asleep(url)), flush=True)
    print(json.dumps({"bench": "due", "database": "sqlite"} | put_to_sleep()), flush=True)


def due_at_once(url: str, *, faults: bool) -> dict[str, float]:
    """Have flows wake at one time; how late they ended, and how many woke twice or never."""
    with one_worker(*_WARNINGS, url=url, env=_MODULES, ready=False) as stack:
        other = stack.worker([*_WARNINGS, *QUIET], ready=False)  # which they would log
        eventually(lambda: _workers(stack) >= WORKERS, "both are there", timeout_s=SOON_S)
        at = time.time() + 25
        stack.client.start.many("wakes", [at] * FLOWS, tenant=str(faults))
        eventually(lambda: _waiting(stack) == FLOWS, "all sleep", timeout_s=SOON_S)
        early = at - time.time()
        if faults:
            time.sleep(max(at - KILLED_S - time.time(), 0))
            other.kill()
            time.sleep(max(at - EMPTIED_S - time.time(), 0))
            stack.redis.flushall()
        eventually(lambda: not _waiting(stack) and not _open(stack), "all end", timeout_s=SOON_S)
        found = stack.read(lambda c: c.execute(_ENDS, {"of": str(faults)}).all())
        rings = stack.read(lambda c: c.execute(_RINGS, {"of": str(faults)}).scalar_one())
    late = [row.finished_at - at for row in found if row.state == State.SUCCEEDED]
    return {
        "ended": len(late),
        "timers_told": rings,
        "asleep_before_s": round(early, 1),
        "late_p50_s": round(percentile(late, 0.5), 2),
        "late_p99_s": round(percentile(late, 0.99), 2),
        "late_max_s": round(max(late), 2),
    }


def asleep(url: str) -> dict[str, float]:
    """Memory and time that flows which sleep for a year take of a worker on their journal.

    They are copies of one that it has put to sleep itself.
    """
    with one_worker(url=url, env=_MODULES) as stack:
        one = stack.client.start("wakes", time.time() + LONG_S)
        eventually(lambda: _waiting(stack) == 1, "one sleeps", timeout_s=SOON_S)
        had = _settled_mb(stack)
        with connect(url).begin() as c:
            copy(c, one.id, SLEEPERS - 1)
        eventually(lambda: _waiting(stack) == SLEEPERS, "they sleep", timeout_s=SOON_S)
        used = _settled_mb(stack)
        process = psutil.Process(stack.workers[0].pid)
        cpu = sum(process.cpu_times()[:2])
        time.sleep(10)
        spent = sum(process.cpu_times()[:2]) - cpu
        return {
            "asleep": SLEEPERS,
            "more_mb": round(used - had, 1),
            "cpu_percent_asleep": round(10 * spent, 1),
        }


def put_to_sleep() -> dict[str, float]:
    """Memory that stays with a worker which has put many to sleep, and keeps none of them."""
    with one_worker(env=_MODULES | {"AGENTS_FLOWS_MAX": "0"}) as stack:
        told = [time.time() + LONG_S] * BEGUN
        stack.client.start.many("wakes", told[:BATCH])
        eventually(lambda: _waiting(stack) == BATCH, "some sleep", timeout_s=SOON_S)
        had = _settled_mb(stack)
        for start in range(BATCH, BEGUN, BATCH):
            stack.client.start.many("wakes", told[start : start + BATCH])
            wanted = start + BATCH
            eventually(lambda n=wanted: _waiting(stack) == n, "they sleep", timeout_s=SOON_S)  # type: ignore[misc]
        return {"put_to_sleep": BEGUN, "more_mb": round(_settled_mb(stack) - had, 1)}


def _settled_mb(stack: Stack) -> float:
    """Return what a worker uses once it has looked at the journal for a while."""
    time.sleep(10)
    return _used_mb(stack)


def _used_mb(stack: Stack) -> float:
    return int(psutil.Process(stack.workers[0].pid).memory_info().rss) / 2**20


def _waiting(stack: Stack) -> int:
    asleep = select(func.count()).where(Step.task == names.FLOW, Step.state == State.WAITING)
    return int(stack.read(lambda c: c.execute(asleep).scalar_one()))


def _workers(stack: Stack) -> int:
    return int(stack.read(lambda c: c.execute(select(func.count(Worker.id))).scalar_one()))


def _open(stack: Stack) -> int:
    is_open = select(func.count()).where(Step.finished_at.is_(None))
    return int(stack.read(lambda c: c.execute(is_open).scalar_one()))


_ENDS = select(Step.state, Step.finished_at).where(Step.tenant == bindparam("of"))
_RINGS = select(func.count()).where(Entry.kind == "timer", Entry.tenant == bindparam("of"))
