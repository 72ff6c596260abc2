"""A stack for tests: an embedded broker, a SQLite journal and a worker, the real ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast
from unittest.mock import patch

from app.layout import qualified
from app.testing.process import CLOCK, MODELS, REAL
from app.testing.worker import StackWorker
from celery_agents import names
from celery_agents.errors import ConfigurationError

if TYPE_CHECKING:
    import redis

    from app.journal.schema.moving import MovedClock
    from app.settings import Settings
    from app.testing.scripted import Scripted
    from celery_agents.client.client import Client
    from deploy.local.servers import ValkeyServer

# The rest is imported where it is used: the process that forks workers imports beside it then, and
# most tests skip no time and record no cassette.

#: The app of the service itself.
SERVICE = "celery_agents.service"
_POLL_S = 0.05
#: Short times: what a test waits for comes soon, and leases of the dead are taken over soon.
_QUICK = {
    "AGENTS_LEASE_S": "4",
    "AGENTS_HEARTBEAT_INTERVAL_S": "0.5",
    "AGENTS_RECOVERY_INTERVAL_S": "0.2",
    "AGENTS_WAKE_GRACE_S": "2",
    "AGENTS_CONCURRENCY": "32",
    "AGENTS_DRAIN_GRACE_S": "2",
}
#: Every wait stands in its row, and every flow is read anew, so that time can be skipped.
_TIMELY = {"AGENTS_COUNTDOWN_LIMIT_S": "0", "AGENTS_FLOWS_MAX": "0"}


#: Addresses of others, and secrets of others: who wants them here says so.
_ELSEWHERE = frozenset({"AGENTS_CACHE_URL", "AGENTS_SECRETS_DIR"})
_TELLING = "OTEL_"


class AgentsStack:
    """Broker, journal and worker in a folder; the client has the worker's own environment.

    Args:
        folder: for all that they write.
        modules: to be imported for their agents, beside those of ``AGENTS_MODULES``.
        config: the file with agents; ``AGENTS_CONFIG`` if it is not given.
        app: an app that serves the agents too, as ``celery -A`` names it.
        environ: more variables of the worker and of the client.
        cwd: the worker's directory, which is importable there.
        real_models: models without a script are asked.
    """

    def __init__(
        self,
        folder: Path,
        *,
        modules: Sequence[str] = (),
        config: Path | None = None,
        app: str = SERVICE,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        real_models: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._cwd = (cwd or Path.cwd()).resolve()
        self._ends = ExitStack()
        self._app, self._modules = app, modules
        given = _environment(folder, self._cwd, config, environ or {}, real=real_models)
        #: The variables of the worker; after the start with all modules and the broker's address.
        self.environ = given
        #: Its worker.
        self.worker = StackWorker(env=given, cwd=self._cwd, log=folder / "worker.log")

    def start(self) -> None:
        """Start everything, and wait until the worker consumes."""
        self.worker.preload()
        from app import environment

        self._broker.start()
        self._ends.callback(self._broker.stop)
        self._ends.callback(_guarded(self._broker.pid))
        self.environ["AGENTS_MODULES"] = _with_modules(self.environ, self._modules)
        self.environ["REDIS_URL"] = self._broker.url
        environment.mount(self.environ)
        self.worker.start(self._argv, self.environ)
        _ = self.client, self.scripted  # while the worker imports
        self.worker.wait_ready()

    def stop(self) -> None:
        """Stop everything."""
        try:
            self.worker.stop()
        finally:
            self._ends.close()

    @cached_property
    def _broker(self) -> ValkeyServer:
        from deploy.local.servers import ValkeyServer

        return ValkeyServer(self.folder / "broker", fsync="no")

    @cached_property
    def settings(self) -> Settings:
        """The settings of the worker."""
        from app.settings import Settings

        with patch.dict(os.environ, self.environ, clear=True):
            return Settings()

    @cached_property
    def client(self) -> Client:
        """A client whose queue, keys and limits are the worker's."""
        from celery_agents.client.client import Client

        s = self.settings
        made = Client(
            self.redis_url,
            queue=s.queue,
            visibility_timeout_s=s.visibility_timeout_s,
            payload_limit_bytes=s.payload_limit_bytes,
            ballots_max=s.ballots_max,
            redis_timeout_s=s.redis_timeout_s,
            fernet_keys=s.fernet_secrets,
        )
        self._ends.callback(made.close)
        return made

    @property
    def _argv(self) -> list[str]:
        queues = f"{self.settings.queue},{names.CONTROL_QUEUE}"
        about = ["--loglevel", "INFO", "--without-mingle", "--without-gossip", "-Q", queues]
        return ["-A", self._app, "worker", "--hostname", "kit@tests", *about]

    @cached_property
    def scripted(self) -> Scripted:
        """The scripts of its agents."""
        from app.testing.replies import SharedReplies
        from app.testing.scripted import Scripted

        return Scripted(SharedReplies(self._redis))

    @cached_property
    def _redis(self) -> redis.Redis:
        from app.testing.replies import connected

        made = connected(self.redis_url)
        self._ends.callback(made.close)
        return made

    @cached_property
    def _clock(self) -> MovedClock:
        from app.journal.schema.moving import MovedClock

        return MovedClock(Path(self.environ[CLOCK]))

    @property
    def redis_url(self) -> str:
        """The broker's address."""
        return self.environ["REDIS_URL"]

    @property
    def database_url(self) -> str:
        """The journal's address."""
        return self.environ["DATABASE_URL"]

    @property
    def log(self) -> str:
        """The log of the worker, of all its lives."""
        return self.worker.log.read_text(encoding="utf-8", errors="replace")

    def kill_worker(self, *, restart: bool = True) -> None:
        """Kill the worker (SIGKILL); start another one in its place, and wait until it consumes."""
        self.worker.kill()
        if restart:
            self.start_worker()

    def start_worker(self) -> None:
        """Start the worker where none runs, and wait until it consumes."""
        if self.worker.pid is None:
            self.worker.start(self._argv, self.environ)
            self.worker.wait_ready()

    def skip(
        self,
        seconds: float = 0.0,
        *,
        minutes: float = 0.0,
        hours: float = 0.0,
        days: float = 0.0,
        weeks: float = 0.0,
        settle_s: float = 10.0,
    ) -> None:
        """Let so much time pass at once, by the journal's clock.

        First whatever is due already is let happen, for ``settle_s`` seconds at the most.
        Timers of flows, retries, deadlines, schedules and leases of workers that are dead are due
        when they would be; what was written stays as it was. A call that is under way takes as long
        as it takes, and what Redis keeps (limits, breakers, cached answers) keeps its own time.

        Raises:
            ConfigurationError: time would go back.
        """
        passed = seconds + 60 * (minutes + 60 * (hours + 24 * (days + 7 * weeks)))
        if not 0 <= passed < float("inf"):
            raise ConfigurationError(f"skip: {passed:g} seconds cannot pass.")
        self.settle(settle_s)
        alive = [pid for pid in (self.worker.pid,) if pid is not None]
        self._clock.move(self.database_url, passed, alive)

    def settle(self, timeout_s: float = 10.0) -> bool:
        """Wait until everything waits for a time, or for somebody outside; False: it does not."""
        until = time.monotonic() + timeout_s
        while not (quiet := self._is_quiet()) and self.worker.pid and time.monotonic() < until:
            time.sleep(_POLL_S)
        return quiet

    def _is_quiet(self) -> bool:
        on_their_way = self._redis.hlen(names.INTAKE_RECORDS)
        return not on_their_way and self._clock.is_quiet(self.database_url)

    @contextmanager
    def cassette(self, path: Path) -> Iterator[None]:
        """Have the calls of agents answered from a file; where there is none, record them in it.

        Raises:
            ConfigurationError: the file cannot be read.
        """
        from app.testing.cassettes import SharedTape

        tape = SharedTape(self._redis)
        known = path.exists()
        with tape.played(path) if known else _recorded(self, path, self._clock.by_s):
            yield


@contextmanager
def _recorded(stack: AgentsStack, path: Path, ahead_s: float) -> Iterator[None]:
    """Write the calls of the block to a cassette; the journal's clock is ahead by so much."""
    from app.journal.queries.taped import CallTapes, written
    from app.journal.schema.engine import connect_as

    engine = connect_as(stack.settings)
    try:
        tapes = CallTapes(engine)
        began = tapes.clock() + ahead_s
        yield
        stack.settle()
        path.write_text(written(tapes.since(began)), encoding="utf-8")
    finally:
        engine.dispose()


def _environment(
    folder: Path, cwd: Path, config: Path | None, more: Mapping[str, str], *, real: bool
) -> dict[str, str]:
    """The variables of a stack's worker, but its modules and the broker's address."""
    given = {**_inherited(), **_QUICK, **more, **_TIMELY}
    given[CLOCK] = str((folder / "clock").resolve())
    given["PYTHONPATH"] = os.pathsep.join([str(cwd), *filter(None, sys.path)])
    given |= {"PYTHONUNBUFFERED": "1", MODELS: REAL if real else ""}
    if config is not None:
        given["AGENTS_CONFIG"] = str(config)
    given["DATABASE_URL"] = f"sqlite:///{(folder / 'journal.db').resolve()}"
    return given


def _with_modules(environ: Mapping[str, str], more: Sequence[str]) -> str:
    """``AGENTS_MODULES`` with those of a stack and the one that each stack has."""
    from app.outward import listed

    known = cast("list[str]", listed(environ.get("AGENTS_MODULES", "")))
    return json.dumps(list(dict.fromkeys([*known, *more, qualified("app.testing.offered")])))


def _inherited() -> dict[str, str]:
    """The variables of this process that lead to nothing of somebody else's."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in _ELSEWHERE and not name.startswith(_TELLING)
    }


def _guarded(pid: int) -> Callable[[], None]:
    """Have a process end with this one, however that ends; until it is released."""
    guard = subprocess.Popen(  # noqa: S603 - a line of ours
        ["/bin/sh", "-c", f"read _; kill -9 {pid}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def release() -> None:
        guard.kill()
        guard.wait()
        if guard.stdin is not None:
            guard.stdin.close()

    return release


@contextmanager
def running_stack(stack: AgentsStack) -> Iterator[AgentsStack]:
    """Run a stack until the block ends."""
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()
