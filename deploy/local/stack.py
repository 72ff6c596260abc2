"""A local stack: broker, journal and the services of the Procfile, all stopped at its end."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from app.journal.schema import migrate
from app.journal.schema.engine import connect
from celery_agents.errors import ConfigurationError, redact
from deploy.local import locks, procfile
from deploy.local.output import Line, into
from deploy.local.servers import ValkeyServer, await_ping, free_port, is_free
from deploy.local.state import (
    ROOT,
    STATE,
    kept_secret,
    private_directory,
    write_environment,
)
from deploy.local.supervisor import WORKER_READY, Service

FLOWER_USER = "admin"
_WATCH_S = 0.2  # how often the broker is looked after
_FLOWER_PORT, _API_PORT = 5555, 8000
_LAUNCHER = "launcher.pid"  # locked by the launcher that uses a state directory


class Stack:
    """The processes of a service that runs here, and how to reach it."""

    def __init__(
        self, directory: Path, environ: Mapping[str, str], broker: ValkeyServer | None
    ) -> None:
        self.directory = directory
        #: The variables of every process of the stack and of its clients.
        self.environ = dict(environ)
        #: The broker, when it is ours.
        self.broker = broker
        self.services: dict[str, Service] = {}

    @property
    def redis_url(self) -> str:
        """The broker URL, with the password in it."""
        return self.environ["REDIS_URL"]

    @property
    def database_url(self) -> str:
        """The journal's URL."""
        return self.environ["DATABASE_URL"]

    def worker_pid(self) -> int | None:
        """The worker's process id; None for the moment between its death and its next start."""
        return self.services["worker"].pid

    def restart(self, name: str) -> None:
        """Restart a service gracefully and wait until it is ready."""
        self.services[name].restart()
        if name == "worker":
            self.services[name].wait_ready()

    def last_lines(self, name: str) -> str:
        """The end of what a service printed."""
        return self.services[name].last_lines()

    def log(self, name: str) -> Path:
        """The log file of a service."""
        return self.directory / "logs" / f"{name}.log"


@contextmanager
def local_stack(
    services: Sequence[str] = ("worker",),
    *,
    directory: Path = STATE,
    report: Line = lambda _: None,
    procfile_path: Path = ROOT / "Procfile",
    grace_s: float = 30.0,
) -> Iterator[Stack]:
    """Run services of the Procfile on a broker and a migrated journal, until the block ends.

    ``REDIS_URL`` and ``DATABASE_URL`` name servers of the user's own; what they do not name is
    kept in ``directory``. What a service prints goes to its log file; ``report`` is told what the
    launcher does about them. A service that dies is started again.

    Raises:
        ConfigurationError: another launcher uses the directory, no server can be had, the journal
            cannot be migrated, or the worker does not get ready.
        BrokerUnavailableError: ``REDIS_URL`` names a server that does not answer.
    """
    commands = procfile.read(procfile_path)
    with _alone(directory), _broker(directory, report) as broker:
        stack = Stack(directory, _environment(directory, broker, services), broker)
        private_directory(directory / "logs")
        _release(stack.database_url)
        write_environment(
            directory / "env", {k: stack.environ[k] for k in ("REDIS_URL", "DATABASE_URL")}
        )
        for name in services:
            stack.services[name] = Service(
                name,
                procfile.argv(commands[name]),
                env=stack.environ,
                pid_file=directory / f"{name}.pid",
                output=into(stack.log(name)),
                report=report,
                ready_text=WORKER_READY if name == "worker" else None,
            )
        try:
            for service in stack.services.values():
                service.start()
            if "worker" in stack.services:
                stack.services["worker"].wait_ready()
            yield stack
        finally:
            _stop(list(stack.services.values()), grace_s)


@contextmanager
def fresh_directory(parent: Path = STATE / "demo") -> Iterator[Path]:
    """A state directory of its own, removed at the end unless the block raises.

    Those that earlier starts left are cleared first, with what still ran in them.
    """
    private_directory(parent.parent)
    private_directory(parent)
    for left in parent.iterdir():
        if (left / _LAUNCHER).exists() and reap(left):  # without it: made a moment ago
            shutil.rmtree(left)
    directory = Path(tempfile.mkdtemp(prefix="", dir=parent))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def reap(directory: Path) -> bool:
    """End what a crashed launcher left running in a state directory; False if one is alive."""
    if locks.holder(directory / _LAUNCHER) is not None:
        return False
    for pid_file in (*directory.glob("*.pid"), *directory.glob("broker/*.pid")):
        locks.end_leftover(pid_file)
    return True


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    private_directory(directory)
    path = directory / _LAUNCHER
    lock = locks.take(path)
    if lock is None:
        raise ConfigurationError(
            f"A stack runs already from {directory} (process {locks.holder(path)}). "
            "Stop it with Ctrl-C in its terminal first."
        )
    try:
        locks.record(lock, os.getpid())
        yield
    finally:
        os.close(lock)


@contextmanager
def _broker(directory: Path, report: Line) -> Iterator[ValkeyServer | None]:
    """The broker of ours, looked after; None when the user named another one that answers."""
    if url := os.environ.get("REDIS_URL"):
        await_ping(url)
        yield None
        return
    server = ValkeyServer(directory / "broker")
    done = threading.Event()
    keeper = threading.Thread(target=_keep_broker, args=(server, done, report), daemon=True)
    try:
        server.start()
        keeper.start()
        yield server
    finally:
        done.set()
        if keeper.is_alive():
            keeper.join()
        server.stop()


def _keep_broker(server: ValkeyServer, done: threading.Event, report: Line) -> None:
    while not done.wait(_WATCH_S):
        if not server.running:
            report("broker ended; starting it again")
            with suppress(ConfigurationError):
                server.start()


def _environment(
    directory: Path, broker: ValkeyServer | None, services: Sequence[str]
) -> dict[str, str]:
    """The variables of every process: whose servers, which packages, whose password."""
    environ = dict(os.environ)
    if broker is not None:
        environ["REDIS_URL"] = broker.url
    if not environ.get("DATABASE_URL"):
        environ["DATABASE_URL"] = f"sqlite:///{directory.resolve() / 'journal.db'}"
    environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", "")])
    environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [environ.get("PYTHONPATH")])])
    environ["PYTHONUNBUFFERED"] = "1"
    # Somebody's first `up` has agents to ask: those of the demo.
    environ.setdefault("AGENTS_CONFIG", str(ROOT / "examples" / "triage" / "agents.toml"))
    if "flower" in services:
        if not environ.get("FLOWER_BASIC_AUTH"):
            password = kept_secret(directory / "flower.password")
            environ["FLOWER_BASIC_AUTH"] = f"{FLOWER_USER}:{password}"
        environ.setdefault("FLOWER_PORT", str(_usual(_FLOWER_PORT)))
        environ.setdefault("AGENTS_FLOWER_URL", f"http://127.0.0.1:{environ['FLOWER_PORT']}")
    if "web" in services:
        environ.setdefault("AGENTS_API_PORT", str(_usual(_API_PORT)))
        environ.setdefault("AGENTS_UI_URL", f"http://127.0.0.1:{environ['AGENTS_API_PORT']}/ui")
    return environ


def _release(url: str) -> None:
    """Bring the journal up to date: the Procfile's release line, without a process of its own."""
    engine = connect(url, timeout_s=5.0)
    try:
        migrate.upgrade(engine)
    except Exception as error:
        raise ConfigurationError(
            f"The journal at {redact(url)} could not be brought up to date: {redact(error)}"
        ) from error
    finally:
        engine.dispose()


def _stop(services: Sequence[Service], grace_s: float) -> None:
    """All at once, gracefully; a second Ctrl-C ends them by force."""
    try:
        for service in services:
            service.ask_stop()
        for service in services:
            service.stop(grace_s=grace_s)
    except KeyboardInterrupt:
        for service in services:
            service.kill()
        raise


def _usual(port: int) -> int:
    """A service's usual port, or a free one while something else listens there."""
    return port if is_free(port) else free_port()
