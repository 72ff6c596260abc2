"""``POST /tasks`` of the API beside plain FastAPI and Celery, in turns: ``python -m bench.api``.

Ours has a key with limits, and each request an idempotency key of its own. Each is one process;
no worker takes anything, and Redis is emptied before each round. Prints requests a second, the 99th
percentile and the CPU of a request of each round, and the median of the ratios. Requests a second
are those of a machine with nothing else to do; CPU of the process is much the same on a busy one.
"""

from __future__ import annotations

import argparse
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
from deploy.local.servers import LOOPBACK, free_port
from tests.integration.harness import Stack
from tests.support.api import made_key
from tests.support.postgres import serving
from tests.support.redis_server import RedisServer
from tests.support.workers import migrate

#: Requests a second that no round reaches: the limit is counted, and refuses nobody.
_MOST = 1_000_000
_CONNECTIONS = 32


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
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--wait", action="store_true", help="Prefer: wait beside Client.get.")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(RedisServer(folder / "broker", databases=3))
        url = f"sqlite:///{folder / 'journal.db'}"
        if given.postgres:
            server = stack.enter_context(serving())
            assert server is not None
            url = server.create()
        migrate(url)
        key = made_key(url, Role.USER, requests_per_s=_MOST, runs_per_s=_MOST)
        plain, ours = free_port(), free_port()
        about = {"REDIS_URL": broker.database_url(1), "DATABASE_URL": url}
        command = ("-P", "-m", "api")
        port = str(ours)
        backlog = str(10 * _MOST)
        mine = stack.enter_context(
            _process(
                *command,
                port=ours,
                AGENTS_API_PORT=port,
                AGENTS_API_BACKLOG_MAX=backlog,
                **about,
            )
        )
        uvicorn = ("-m", "uvicorn", "bench.plain_api:app", "--no-access-log", "--port", str(plain))
        if given.wait:
            with closing(Stack(about["REDIS_URL"], url, folder)) as made:
                _waits(given, made, ours, key)
            return
        env = {"REDIS_URL": broker.database_url(2)}
        theirs = stack.enter_context(_process(*uvicorn, port=plain, **env))
        _rounds(given, broker, Load(plain, None, theirs), Load(ours, key, mine))


def _waits(given: argparse.Namespace, stack: Stack, port: int, key: str) -> None:
    """Print the median of answers that are waited for, in turns: by HTTP, and by the client."""
    stack.worker()
    headers = {"Authorization": f"Bearer {key}", "Prefer": "wait=20"}
    body = {"task": "ask", "agent": "noop", "input": 1}
    took_s: tuple[list[float], list[float]] = ([], [])
    with httpx2.Client(base_url=f"http://{LOOPBACK}:{port}", headers=headers) as http:

        def by_http() -> None:
            if http.post("/tasks", json=body).status_code != HTTPStatus.OK:
                raise RuntimeError("It was not answered in time.")

        ways: tuple[Callable[[], object], ...] = (
            by_http,
            lambda: stack.client.ask("noop", 1).get(timeout=20),
        )
        until = time.perf_counter() + given.rounds * given.seconds
        while time.perf_counter() < until:
            for way, times in zip(ways, took_s, strict=True):
                began = time.perf_counter()
                way()
                times.append(time.perf_counter() - began)
    mine, theirs = (statistics.median(times) * 1000 for times in took_s)
    print(
        f"client {theirs:.1f} ms, http {mine:.1f} ms: {mine - theirs:+.1f} ms, n {len(took_s[0])}"
    )


def _rounds(given: argparse.Namespace, broker: RedisServer, plain: Load, ours: Load) -> None:
    ratios = []
    for number in range(given.rounds):
        rates = []
        for load in (plain, ours) if number % 2 else (ours, plain):
            broker.client().flushall()
            rate = asyncio.run(load.run(given.seconds))
            late_ms = sorted(load.took_s)[int(0.99 * len(load.took_s))] * 1000
            rates.append((load, rate, f"{rate:6.0f}/s p99 {late_ms:4.0f} ms, {load.cpu_ms:.2f} ms"))
        (_, theirs, told), (_, mine, told_mine) = sorted(rates, key=lambda r: r[0] is ours)
        ratios.append(mine / theirs)
        print(f"plain {told} of CPU   ours {told_mine}   {mine / theirs:.2f} x")
    print(f"median {statistics.median(ratios):.2f} x")


if __name__ == "__main__":
    main()
