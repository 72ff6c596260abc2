"""Tasks of MCP while processes that answer for them are killed, one after the other.

    python -m tests.support.killed_tasks [--seconds 60] [--clients 4]

Two processes of the API answer. Each second one of them is killed (SIGKILL), once another one is
there that takes its place. Clients begin tasks, ask for them at whichever process answers, and read
their results. It tells how many tasks there were, how many a process did not know of which a client
had been told, and how often each was done.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import httpx2

from app.access.permissions import Role
from tests.integration.harness import FAST, MODULES, SOON_S, Stack
from tests.support import fixtures
from tests.support.api import made_key, served
from tests.support.workers import migrate

#: Processes that answer at a time; and seconds between two kills, at the least.
SERVERS, EACH_S = 2, 1.0
LATER, EXTENSION = "2026-07-28", "io.modelcontextprotocol/tasks"
_KEY = "celery-agents/idempotency-key"
_NAME = "io.modelcontextprotocol"
_META: dict[str, Any] = {
    f"{_NAME}/protocolVersion": LATER,
    f"{_NAME}/clientInfo": {"name": "a test", "version": "1"},
    f"{_NAME}/clientCapabilities": {"extensions": {EXTENSION: {}}},
}
_UNKNOWN = -32602


class Servers:
    """Processes of the API; whoever asks is answered by one that is there."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self.alive: list[httpx2.Client] = []
        self.kills = 0
        self._env, self._folder = env, folder
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._kill_on)]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.alive += [self._started() for _ in range(SERVERS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._stack.close()

    def _started(self) -> httpx2.Client:
        (own := self._folder / f"api-{uuid4()}").mkdir()
        return self._stack.enter_context(served(self._env, own))

    def _kill_on(self) -> None:
        while not self._over.wait(EACH_S):
            new = self._started()
            old, self.alive = self.alive[0], [*self.alive[1:], new]
            old.child.kill()  # type: ignore[attr-defined]
            self.kills += 1

    def ask(self, key: str, method: str, named: str, **params: Any) -> dict[str, Any]:
        """The answer to a message, of the first process that gives one."""
        meta = {**_META, **params.pop("meta", {})}
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
        headers = {
            "Authorization": f"Bearer {key}",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": LATER,
            "Mcp-Method": method,
            "Mcp-Name": named,
        }
        until = time.monotonic() + 2 * SOON_S
        while True:
            server = random.choice(self.alive)
            with suppress(httpx2.TransportError):
                # Not on a connection of another thread: its end would be that one's error, too.
                url = f"{str(server.base_url).rstrip('/')}/mcp"
                told = httpx2.post(url, json=body, headers=headers, timeout=SOON_S)
                if told.status_code in {200, 400, 404}:
                    return _message(told)
            assert time.monotonic() < until, f"nobody answers {method}"
            time.sleep(0.02)


def _message(told: httpx2.Response) -> dict[str, Any]:

    if not told.headers["content-type"].startswith("text/event-stream"):
        return dict(told.json())
    lines = [line for line in told.text.splitlines() if line.startswith("data: {")]
    if not lines:  # it was cut: whoever asks again gets the same
        raise httpx2.ReadError("The stream ended before its answer.")
    return dict(json.loads(lines[-1].removeprefix("data: ")))


@dataclass
class Found:
    """Figures of clients."""

    begun: dict[str, str] = field(default_factory=dict)  # the ids of tasks, by their marks
    looks: int = 0
    unknown: list[Any] = field(default_factory=list)
    wrong: list[Any] = field(default_factory=list)

    def follow(self, servers: Servers, key: str, until: float, path: Path) -> None:
        """Begin tasks one after the other, and see each to its end."""
        while time.monotonic() < until:
            mark = str(uuid4())
            order = {"seconds": 0.8, "value": mark, "path": str(path / mark)}
            about: dict[str, Any] = {"arguments": {"input": order}, "meta": {_KEY: mark}}
            made = servers.ask(key, "tools/call", "slow", **about, name="slow")
            self._end(servers, key, mark, made)

    def _end(self, servers: Servers, key: str, mark: str, made: dict[str, Any]) -> None:
        if made.get("result", {}).get("resultType") != "task":
            self.wrong.append(made)
            return
        self.begun[mark] = task_id = made["result"]["taskId"]
        while True:
            self.looks += 1
            told = servers.ask(key, "tasks/get", task_id, taskId=task_id)
            if "error" in told:
                (self.unknown if told["error"]["code"] == _UNKNOWN else self.wrong).append(told)
                return
            if told["result"]["status"] not in {"working", "input_required"}:
                if mark not in str(told["result"].get("result")):
                    self.wrong.append(told)
                return
            time.sleep(0.1)


def measure(stack: Stack, folder: Path, seconds: float, clients: int) -> tuple[Found, Servers]:
    """Kill and ask for so long; gives what was seen, once all tasks have ended."""
    found, marks = Found(), folder / "marks"
    marks.mkdir()
    env = {"REDIS_URL": stack.redis_url, "DATABASE_URL": stack.database_url}
    key = made_key(stack.database_url, Role.USER)
    with Servers(env, folder) as servers:
        until = time.monotonic() + seconds
        about = (servers, key, until, marks)
        threads = [threading.Thread(target=found.follow, args=about) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return found, servers


def often(folder: Path, found: Found) -> Counter[int]:
    """How many tasks were done how often."""
    return Counter(_ends(folder / "marks" / mark) for mark in found.begun)


def _ends(path: Path) -> int:
    return path.read_text().split().count("end")


def stacks(folder: Path) -> Iterator[Stack]:
    """A broker, a journal and a worker."""
    with fixtures._broker_at(folder) as broker:
        database = f"sqlite:///{folder / 'journal.db'}"
        migrate(database)
        made = Stack(broker.fresh_url(), database, folder, FAST | MODULES)
        try:
            made.worker()
            yield made
        finally:
            made.close()


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(prog="tests.support.killed_tasks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=4)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for stack in stacks(folder := Path(name)):
            found, servers = measure(stack, folder, given.seconds, given.clients)
            times = ", ".join(
                f"{n} done {t} times" for t, n in sorted(often(folder, found).items())
            )
            print(f"{len(found.begun)} tasks, {found.looks} looks, {servers.kills} kills")
            print(f"unknown {len(found.unknown)}, wrong {len(found.wrong)}; {times}")
            for odd in [*found.unknown, *found.wrong][:5]:
                print(f"  {odd}")


if __name__ == "__main__":
    main()
