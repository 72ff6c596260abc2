"""Actors that are told sums: messages a second, through kills and a freeze, beside other ways.

All of one run: ours on both databases, Celery tasks that take a Redis lock of their key, and actors
of Ray where it can be had. Four workers each. Of a thousand keys each gets a hundred messages.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from app.journal.schema.models import Entry, Worker
from bench.journals import journals
from bench.locked import TOTALS, app, deposit
from bench.one_worker import QUIET, one_worker
from bench.venvs import python_of
from celery_agents.contracts.flows.entries import ANSWERS, HISTORY
from tests.integration.harness import FAST, Stack, eventually

_MODULES = {"AGENTS_MODULES": "bench.summing"}
#: ``BENCH_ACTOR_KEYS`` is for a machine that has less time.
KEYS, MESSAGES, AT_ONCE = int(os.environ.get("BENCH_ACTOR_KEYS", "1000")), 100, 500
WORKERS, SOON_S, FROZEN_S = 4, 3_600.0, 6.0
#: A tell waits until its messages stand in the journal; the other ways wait for nothing.
SENDERS = 4
RAY = ("ray==2.49.2",)
#: No line for each message, of whoever takes it.
_LOG = ("--loglevel", "WARNING")
_FOLDER = Path(__file__).parent


def main() -> None:
    """Print a line for each way; one that cannot be measured here says why."""
    for told, way in _ways():
        try:
            found = way()
        except (AssertionError, OSError, RuntimeError, subprocess.SubprocessError) as error:
            found = {"not_measured": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps({"bench": "actors"} | told | found), flush=True)


def _ways() -> Iterator[tuple[dict[str, Any], Callable[[], dict[str, Any]]]]:
    for name, url in journals():  # each is there until the next one is asked for
        for faults in (False, True):
            told = {"of": "ours", "database": name, "faults": faults}
            yield told, partial(ours, url, str(faults), faults=faults)
    yield {"of": "celery with a lock"}, locked
    yield {"of": "ray"}, ray


def _messages() -> list[tuple[str, int]]:
    return [(f"key-{key}", number) for number in range(MESSAGES) for key in range(KEYS)]


def _wanted() -> dict[str, int]:
    return {f"key-{key}": sum(range(MESSAGES)) for key in range(KEYS)}


def ours(url: str, tenant: str, *, faults: bool) -> dict[str, Any]:
    """Tell actors; with faults two workers are killed and one frozen meanwhile."""
    env, since = _MODULES | (FAST if faults else {}), time.time()
    with one_worker(*_LOG, url=url, env=env, ready=False) as stack:
        for _ in range(WORKERS - 1):
            _worker(stack)
        eventually(lambda: _begun(stack, since) == WORKERS, "up", timeout_s=SOON_S)
        begun, messages = time.monotonic(), _messages()
        portions = [messages[start : start + AT_ONCE] for start in range(0, len(messages), AT_ONCE)]

        def tell(some: list[tuple[str, int]]) -> None:
            told = [("Sum", key, "add", cents) for key, cents in some]
            stack.client.actors.tell_many(told, tenant=tenant, timeout=SOON_S)

        with ThreadPoolExecutor(SENDERS) as senders:
            for place, told in enumerate([senders.submit(tell, some) for some in portions]):
                told.result()
                if faults:
                    _fault(stack, place / len(portions))
        told_s = time.monotonic() - begun
        eventually(lambda: _totals(stack, tenant) == _wanted(), "sums", timeout_s=SOON_S)
        done_s = time.monotonic() - begun
        return _figures(told_s, done_s) | {"wrong": 0, "refused": _refused(stack, tenant)}


def _fault(stack: Stack, share: float) -> None:
    """Kill and freeze workers at a third, a half and two thirds of the messages."""
    step = AT_ONCE / (KEYS * MESSAGES)
    for at, which in ((1 / 3, 0), (2 / 3, 1)):
        if at <= share < at + step:
            stack.workers[which].kill()
            _worker(stack)
    if 1 / 2 <= share < 1 / 2 + step:
        stack.freeze(stack.workers[2])
        time.sleep(FROZEN_S)
        stack.workers[2].resume()


def _worker(stack: Stack) -> None:
    stack.worker([*_LOG, *QUIET], ready=False)


def _begun(stack: Stack, since: float) -> int:
    query = select(func.count()).where(Worker.started_at >= since)
    return int(stack.read(lambda c: c.execute(query).scalar_one()))


def _totals(stack: Stack, tenant: str) -> dict[str, int]:
    """The sums of all actors, as they were committed last."""
    time.sleep(0.5)
    last = (
        select(Entry.stream, func.max(Entry.seq).label("seq"))
        .where(Entry.tenant == tenant, Entry.stream.startswith(HISTORY), Entry.kind == "started")
        .group_by(Entry.stream)
        .subquery()
    )
    query = select(Entry.data).join(
        last, (Entry.stream == last.c.stream) & (Entry.seq == last.c.seq)
    )
    rows = stack.read(lambda c: c.execute(query.where(Entry.tenant == tenant)).scalars().all())
    kept = [row["value"].get("input") for row in rows]
    return {one["key"]: (one["state"] or {}).get("total", 0) for one in kept if one}


def _refused(stack: Stack, tenant: str) -> int:
    query = select(func.count()).where(Entry.tenant == tenant, Entry.stream.startswith(ANSWERS))
    return int(stack.read(lambda c: c.execute(query).scalar_one()))


def locked() -> dict[str, Any]:
    """The same by tasks of Celery, each of which holds a lock of its key."""
    with one_worker(ready=True) as stack:
        app.conf.update(broker_url=stack.redis_url)
        command = [sys.executable, "-m", "celery", "-A", "bench.locked", "worker", *_LOG]
        command += ["--pool", "threads", "-c", "8", "--without-mingle", "--without-gossip"]
        env = {**os.environ, "REDIS_URL": stack.redis_url}
        told: Any = {"env": env, "stdout": subprocess.DEVNULL}
        workers = [subprocess.Popen([*command, "-n", f"w{n}"], **told) for n in range(WORKERS)]
        try:
            eventually(
                lambda: len(app.control.ping(timeout=8, limit=WORKERS)) == WORKERS,
                "up",
                timeout_s=SOON_S,
            )
            begun = time.monotonic()
            with app.connection_for_write() as connection, app.amqp.Producer(connection) as way:
                for key, cents in _messages():
                    deposit.apply_async((key, cents), producer=way)
            told_s = time.monotonic() - begun
            eventually(lambda: _locked_sum(stack) == _all(), "sums", timeout_s=SOON_S)
            return _figures(told_s, time.monotonic() - begun)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()


def _all() -> int:
    return sum(_wanted().values())


def _locked_sum(stack: Stack) -> int:
    time.sleep(0.2)
    found: Any = stack.redis.hvals(TOTALS)
    return sum(map(int, found))


def ray() -> dict[str, Any]:
    """The same by actors of Ray, whose state and messages are in memory alone."""
    try:
        python = python_of("ray", RAY)
        command = [str(python), str(_FOLDER / "ray_actors.py"), f"{KEYS}", f"{MESSAGES}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SOON_S)
    except (RuntimeError, subprocess.SubprocessError, OSError) as error:
        return {"not_measured": str(error)[:200]}
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"told_s"')]
    if not lines:
        return {"not_measured": "it printed no figures"}
    told: dict[str, float] = json.loads(lines[-1])
    return _figures(told["told_s"], told["done_s"])


def _figures(told_s: float, done_s: float) -> dict[str, Any]:
    count = KEYS * MESSAGES
    return {
        "messages": count,
        "told_s": round(told_s, 1),
        "done_s": round(done_s, 1),
        "per_s": round(count / done_s),
    }
