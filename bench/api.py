"""``POST /tasks`` of the API beside plain FastAPI and Celery, and answers that are waited for.

Ours has a key with limits, and each request an idempotency key of its own. Each is one process;
no worker takes anything meanwhile, and Redis is emptied before each round; the two take turns.
Requests a second are those of a machine with nothing else to do; CPU of the process is much the
same on a busy one.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http import HTTPStatus
from pathlib import Path

import httpx2
import psutil

from app.access.permissions import Role
from bench.journals import journals
from deploy.local.servers import LOOPBACK, free_port
from tests.integration.harness import Stack
from tests.support.api import made_key
from tests.support.redis_server import RedisServer

#: Requests a second that no round reaches: the limit is counted, and refuses nobody.
_MOST = 1_000_000
_CONNECTIONS = 32
_ROUNDS, _ROUND_S = 5, 5.0


class Load:
    """Requests over kept connections, one after the other on each."""

    def __init__(self, port: int, key: str | None, server: psutil.Process) -> None:
        self._port, self._key, self._server = port, key, server
        self.cpu_ms = 0.0
        self.took_s: list[float] = []

    async def run(self, seconds: float) -> float:
        """Ask for so long; returns requests a second."""
        self.took_s = []
        before_s, began = self._cpu_s(), time.perf_counter()
        await asyncio.gather(*(self._ask(began + seconds) for _ in range(_CONNECTIONS)))
        self.cpu_ms = (self._cpu_s() - before_s) * 1000 / len(self.took_s)
        return len(self.took_s) / (time.perf_counter() - began)

    def _cpu_s(self) -> float:
        used = self._server.cpu_times()
        return float(used.user + used.system)

    async def _ask(self, until: float) -> None:
        reader, writer = await asyncio.open_connection(LOOPBACK, self._port)
        while time.perf_counter() < until:
            began = time.perf_counter()
            writer.write(self._request())
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 202 " not in head.split(b"\r\n", 1)[0]:
                raise RuntimeError(head.decode())
            length = head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
            await reader.readexactly(int(length))
            self.took_s.append(time.perf_counter() - began)
        writer.close()

    def _request(self) -> bytes:
        body = {"agent": "a", "input": "hello"}
        more = ""
        if self._key is not None:
            body["task"] = "ask"
            more = f"Authorization: Bearer {self._key}\r\nIdempotency-Key: {uuid.uuid4()}\r\n"
        text = json.dumps(body)
        head = f"POST /tasks HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{more}"
        return f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode()


@contextmanager
def _process(*argv: str, port: int, **env: str) -> Iterator[psutil.Process]:
    command = [sys.executable, *argv]
    with subprocess.Popen(command, env={**os.environ, **env}, stderr=subprocess.DEVNULL) as child:
        try:
            _await(port)
            yield psutil.Process(child.pid)
        finally:
            child.terminate()


def _await(port: int) -> None:
    import socket

    until = time.monotonic() + 60
    while True:
        try:
            socket.create_connection((LOOPBACK, port), 1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


def main() -> None:
    """Print a line of JSON for each database."""
    for name, url in journals():
        print(json.dumps({"bench": "api", "database": name, **_measured(url)}), flush=True)


def _measured(url: str) -> dict[str, float]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(RedisServer(folder / "broker", databases=3))
        key = made_key(url, Role.USER, requests_per_s=_MOST, runs_per_s=_MOST)
        plain, ours = free_port(), free_port()
        about = {"REDIS_URL": broker.database_url(1), "DATABASE_URL": url}
        about |= {"AGENTS_API_PORT": str(ours), "AGENTS_API_BACKLOG_MAX": str(10 * _MOST)}
        mine = stack.enter_context(_process("-P", "-m", "api", port=ours, **about))
        uvicorn = ("-m", "uvicorn", "bench.plain_api:app", "--no-access-log", "--port", str(plain))
        env = {"REDIS_URL": broker.database_url(2)}
        theirs = stack.enter_context(_process(*uvicorn, port=plain, **env))
        # Before the rounds: what they leave in the journal a worker would find, and do first.
        with closing(Stack(about["REDIS_URL"], url, folder)) as made:
            found = _waits(made, ours, key)
        return found | _rounds(broker, Load(plain, None, theirs), Load(ours, key, mine))


def _waits(stack: Stack, port: int, key: str) -> dict[str, float]:
    """The median of answers that are waited for, in turns: by HTTP, and by the client."""
    stack.worker()
    headers = {"Authorization": f"Bearer {key}", "Prefer": "wait=20"}
    body = {"task": "ask", "agent": "noop", "input": 1}
    took_s: tuple[list[float], list[float]] = ([], [])
    with httpx2.Client(base_url=f"http://{LOOPBACK}:{port}", headers=headers, timeout=60) as http:

        def by_http() -> None:
            if http.post("/tasks", json=body).status_code != HTTPStatus.OK:
                raise RuntimeError("It was not answered in time.")

        ways: tuple[Callable[[], object], ...] = (
            by_http,
            lambda: stack.client.ask("noop", 1).get(timeout=20),
        )
        until = time.perf_counter() + _ROUNDS * _ROUND_S
        while time.perf_counter() < until:
            for way, times in zip(ways, took_s, strict=True):
                began = time.perf_counter()
                way()
                times.append(time.perf_counter() - began)
    mine, theirs = (statistics.median(times) * 1000 for times in took_s)
    told = {"waited_ms": mine, "client_ms": theirs, "waited_more_ms": mine - theirs}
    return {name: round(value, 2) for name, value in told.items()} | {"waited": len(took_s[0])}


def _rounds(broker: RedisServer, plain: Load, ours: Load) -> dict[str, float]:
    """Medians over the rounds, and of the ratios of each round."""
    rounds: list[tuple[dict[str, float], dict[str, float]]] = []
    for number in range(_ROUNDS):
        told: dict[Load, dict[str, float]] = {}
        for load in (plain, ours) if number % 2 else (ours, plain):
            broker.client().flushall()
            rate = asyncio.run(load.run(_ROUND_S))
            late_ms = sorted(load.took_s)[int(0.99 * len(load.took_s))] * 1000
            told[load] = {"per_s": rate, "p99_ms": late_ms, "cpu_ms": load.cpu_ms}
        rounds.append((told[plain], told[ours]))
    found = {
        f"{whose}_{name}": round(statistics.median(r[at][name] for r in rounds), 2)
        for at, whose in enumerate(("plain", "ours"))
        for name in ("per_s", "p99_ms", "cpu_ms")
    }
    return found | {
        "rate_ratio": round(statistics.median(b["per_s"] / a["per_s"] for a, b in rounds), 2),
        "p99_ratio": round(statistics.median(b["p99_ms"] / a["p99_ms"] for a, b in rounds), 2),
        "cpu_ratio": round(statistics.median(a["cpu_ms"] / b["cpu_ms"] for a, b in rounds), 2),
    }


if __name__ == "__main__":
    main()
