"""What the integration tests share: a client, workers, and a look into journal and broker."""

from __future__ import annotations

import json
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import psutil
import redis
from celery import Celery
from sqlalchemy import Engine, select

from app.journal.queries import reads
from app.journal.schema.engine import connect, reading
from app.journal.schema.models import Call, Step
from app.messaging.intake import Intake
from celery_agents import Client, names
from celery_agents.redis_url import read_redis_url
from deploy.local.servers import LOOPBACK
from tests.support import forks
from tests.support.ports import free_port
from tests.support.service import APP, SERVICE
from tests.support.workers import WorkerProcess, unique_name, worker_command

T = TypeVar("T")

MODULES = {"AGENTS_MODULES": '["tests.support.agents"]'}
#: Leases and looks so short that a fault is mended within seconds.
FAST = {
    "AGENTS_LEASE_S": "2",
    "AGENTS_HEARTBEAT_INTERVAL_S": "0.5",
    "AGENTS_RECOVERY_INTERVAL_S": "0.5",
    "AGENTS_WAKE_GRACE_S": "1",
}
_COMMON = ["--without-mingle", "--without-gossip", "-Q", "agents,agents.control"]
COROUTINES = ["--concurrency", "16", *_COMMON]  # no pool is named: the default
THREADS = ["--pool", "threads", "--concurrency", "16", *_COMMON]
PREFORK = ["--pool", "prefork", "--concurrency", "2", *_COMMON]
#: Generous: a machine with two busy cores.
SOON_S = 30.0
#: Seconds between two looks at what is awaited.
_LOOK_LEAST_S, _LOOK_MOST_S = 0.02, 0.1


def eventually(look: Callable[[], T], what: str = "", *, timeout_s: float = SOON_S) -> T:
    """Poll until ``look`` gives something true; that value."""
    began = time.monotonic()
    while not (found := look()):
        waited_s = time.monotonic() - began
        assert waited_s < timeout_s, f"not within {timeout_s} s: {what or look}"
        # Whoever waits for seconds looks less often: each look costs those that are waited for.
        time.sleep(min(max(_LOOK_LEAST_S, waited_s / 10), _LOOK_MOST_S))
    return found


def lines(path: Path) -> list[str]:
    """What counted agents wrote."""
    return path.read_text().splitlines() if path.exists() else []


@contextmanager
def watching(stack: Stack) -> Iterator[list[dict[str, Any]]]:
    """What Flower gets to see of a stack, from now on; one of its workers must be up."""
    seen: list[dict[str, Any]] = []
    app = Celery("watcher", broker=stack.redis_url, set_as_current=False)
    receivers: list[Any] = []

    def watch() -> None:
        with app.connection() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": seen.append})
            receivers.append(receiver)
            # One subscription to the end: between two, events would be missed.
            for _ in receiver.consume(limit=None, timeout=None, safety_interval=0.2):
                pass

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()

    def heard() -> bool:
        # Both are told only to those that are bound already: worker and watcher are soon.
        app.control.enable_events(reply=True)  # as Flower does, again and again
        return stack.client.ask("noop", 0).get(timeout=SOON_S) == 0 and _of_tasks(seen)

    eventually(heard)
    try:
        yield seen
    finally:
        for receiver in receivers:
            receiver.should_stop = True
        thread.join(5)
        app.close()


def _of_tasks(seen: list[dict[str, Any]]) -> bool:
    return any(e["type"].startswith("task-") for e in seen)


def celery(*argv: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command of ``celery`` to its end."""
    return forks.run(SERVICE.celery(*argv), SERVICE.environment(env), SERVICE.folder, 60)


class Location(NamedTuple):
    """Where a stack has its messages, its rows and its files."""

    redis_url: str
    database_url: str
    directory: Path


class Stack:
    """One broker database and one journal, with the workers and the client of a test."""

    #: Whose the runs of a test are on a stack that others share: nobody's where it has its own.
    tenant = ""

    def __init__(
        self,
        redis_url: str,
        database_url: str,
        directory: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.redis_url = redis_url
        self.database_url = database_url
        self.directory = directory
        self.env = {
            "REDIS_URL": redis_url,
            "DATABASE_URL": database_url,
            **MODULES,
            **(env or {}),
        }
        self.workers: list[WorkerProcess] = []
        self.client = Client(redis_url)

    def tenanted(self) -> Self:
        """The same for the next test: what is a tenant's own is there for it alone."""
        self.tenant = secrets.token_hex(4)
        return self

    @property
    def mine(self) -> Any:
        """What a client is told of each request of the test, as keyword arguments."""
        return {"tenant": self.tenant, "timeout": SOON_S}

    def worker(
        self,
        args: Sequence[str] = COROUTINES,
        *,
        env: Mapping[str, str] | None = None,
        name: str | None = None,
        app: str = APP,
        ready: bool = True,
        prefix: Sequence[str] = (),
    ) -> WorkerProcess:
        """Start a worker; it is ended with the stack."""
        name = name or unique_name()
        command = [*prefix, *worker_command(name, app, args)]
        process = WorkerProcess(
            name, command, env={**self.env, **(env or {})}, directory=self.directory
        )
        self.workers.append(process)
        process.start()
        if ready:
            process.wait_ready()
        return process

    def beat(self, name: str) -> WorkerProcess:
        """Start a beat as the Procfile says; it is ended with the stack."""
        command = SERVICE.line("beat")
        process = WorkerProcess(name, command, env=self.env, directory=self.directory)
        self.workers.append(process)
        process.start()
        return process

    def flower(self, env: Mapping[str, str]) -> str:
        """Start Flower as the Procfile says; its address. It is ended with the stack."""
        port = str(free_port())
        command = SERVICE.line("flower", {"FLOWER_PORT": port})  # a fork: no shell fills it in
        process = WorkerProcess(
            "flower", command, env={**self.env, **env}, directory=self.directory
        )
        self.workers.append(process)
        process.start()
        return f"http://{LOOPBACK}:{port}"

    def freeze(self, worker: WorkerProcess) -> None:
        """Pause a worker between two of its writes: amid one it would hold SQLite's only lock."""
        with self.engine.begin():  # it has none then, and gets none
            worker.pause()
            stopped = psutil.STATUS_STOPPED
            eventually(lambda: psutil.Process(worker.pid).status() == stopped)

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()  # nothing of a test is worth a warm shutdown
        self.client.close()
        self.engine.dispose()
        self.redis.close()

    # -- the journal

    @cached_property
    def engine(self) -> Engine:
        return connect(self.database_url)

    def read(self, work: Callable[[Any], T]) -> T:
        with reading(self.engine).connect() as connection:
            return work(connection)

    def row(self, step_id: str) -> Any:
        """The row of a step; None when there is none."""
        return self.read(lambda c: c.execute(select(Step.__table__).filter_by(id=step_id)).first())

    def state(self, step_id: str) -> str | None:
        row = self.row(step_id)
        return None if row is None else str(row.state)

    def members(self, step_id: str) -> dict[str, Any]:
        """The rows of a pattern's members, by their keys."""
        query = select(Step.__table__).filter_by(parent_id=step_id).order_by(Step.position)
        return {row.member: row for row in self.read(lambda c: c.execute(query).all())}

    def calls(self, step_id: str) -> list[Any]:
        query = select(Call.__table__).filter_by(step_id=step_id).order_by(Call.seq, Call.token)
        return self.read(lambda c: list(c.execute(query).all()))

    def events(self, run_id: str, kind: str | None = None) -> list[dict[str, Any]]:
        found = self.read(lambda c: reads.events(c, run_id))
        return [e for e in found if kind in {None, e["kind"]}]

    def calls_made_twice(self) -> int:
        return self.read(partial(reads.calls_made_twice, commit_s=0.0))

    def unsettled(self) -> list[str]:
        """Ids of steps that have ended and are not settled yet."""
        query = select(Step.id).where(Step.finished_at.is_not(None), Step.settled.is_(False))
        return self.read(lambda c: list(c.execute(query).scalars()))

    # -- the broker

    @cached_property
    def redis(self) -> redis.Redis:
        return read_redis_url(self.redis_url).client(decode_responses=True)

    def depth(self, queue: str = "agents") -> int:
        """Messages in a queue."""
        return Intake(self.redis).depth(queue)

    def unacked(self) -> int:
        return int(self.redis.hlen(names.UNACKED))

    def recorded(self, step_id: str) -> bool:
        """Whether its message stands in the intake."""
        return bool(self.redis.hexists(names.INTAKE_RECORDS, step_id))

    def messages(self, step_id: str) -> list[dict[str, Any]]:
        """The messages for a step, in the queue or taken and not acknowledged."""
        keys = [k for k in self.redis.keys("agents*") if self.redis.type(k) == "list"]
        queued = [json.loads(m) for k in keys for m in self.redis.lrange(k, 0, -1)]
        taken = [json.loads(str(m).partition("\n")[2]) for m in self.redis.hvals(names.UNACKED)]
        return [m for m in [*queued, *taken] if m["headers"]["id"] == step_id]

    def drop_messages(self, queue: str = "agents") -> int:
        """Lose what is in a queue."""
        keys = [k for k in self.redis.keys(f"{queue}*") if self.redis.type(k) == "list"]
        lost = sum(self.redis.llen(k) for k in keys)
        if keys:
            self.redis.delete(*keys)
        return int(lost)

    def counts(self) -> int:
        """Steps in the journal."""
        return len(self.read(lambda c: c.execute(select(Step.id)).all()))
