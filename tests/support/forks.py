"""Processes of Celery and of the API as forks of one that has imported what they import.

A worker takes a second and a half of CPU to import Celery, SQLAlchemy and the service, two more
for the SDKs when it first asks models, and a fork a few hundredths. Everything else is as if it had
been started: a session of its own, its arguments, directory, environment and files, the program's
``__main__``, and an interpreter that ends as each does. Importing decides nothing
(tests/unit/test_imports.py): no module of ours reads the environment, connects, or draws a number
that two processes must not share.

Started as ever is what is not the checkout's own ``python -m celery`` or ``python -P -m api``; so
are all processes outside of pytest, as those of ``./run chaos`` and ``./run bench``. Variables that
others read as they are imported, or that Python reads as it starts, are those of the process that
forks: of each set of them the first process is started as ever, and the second by one of its own.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache, cached_property, partial
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from sqlalchemy.orm import configure_mappers

from deploy.local.child import Child
from deploy.local.state import ROOT
from tests.support.readable import readable

#: What a program has imported by the time that it is ready.
PRELOADED = {
    "celery": (
        "celery.bin.celery",
        "celery.app.control",
        "celery.app.events",
        "celery.app.log",
        "celery.apps.worker",
        "celery.backends.redis",
        "celery.concurrency.prefork",
        "celery.fixups.django",
        "celery.loaders.app",
        "celery.worker.autoscale",
        "celery.worker.components",
        "celery.worker.consumer",
        "celery.worker.consumer.delayed_delivery",
        "celery.worker.strategy",
        "kombu.transport.redis",
        "logging.handlers",
        "sqlalchemy.dialects.postgresql.psycopg2",
        "sqlalchemy.dialects.sqlite",
        "app.factory",
        "app.execution.task",
        "app.messaging.consumer",
        "app.messaging.transport",
        "app.pool.pool",
        "beat_schedules",
        "tasks",
    ),
    "api": (
        "api.application",
        "uvicorn.lifespan.on",
        "uvicorn.loops.auto",
        "uvicorn.protocols.http.auto",
    ),
    "api.mcp": ("api.mcp.serving", "api.mcp.server", "mcp.server.stdio"),
    "tests.chaos.people": ("celery_agents",),
    "tests.chaos.racer": ("app.journal", "agents.patterns"),
}
#: What a worker imports when it first asks models.
SDKS = (
    "httpx2",
    "openai.resources.chat.completions",
    "anthropic.resources.messages",
    "google.genai",
    "genai_prices",
)
_MESSAGE_BYTES = 128 * 1024
#: Seconds after which whoever waits looks whether another thread has read the end meanwhile: it has
#: closed the pipe then, whose number may be another one's by now.
_LOOK_S = 0.5
#: Variables by such names work when an interpreter starts, or when Celery and kombu are imported.
_EARLY = (
    *("PYTHON", "LD_", "MALLOC_", "LC_", "LANG", "TZ", "COVERAGE"),
    *("CELERY_", "C_", "MP_", "KOMBU_", "AUTOSCALE_", "DISABLE_"),
)
#: How programs are started, and which module each one is.
_COMMANDS = {
    (sys.executable, "-m", "celery"): "celery",
    (sys.executable, "-P", "-m", "api"): "api",
    (sys.executable, "-P", "-m", "api.mcp"): "api.mcp",
    (sys.executable, "-m", "tests.chaos.people"): "tests.chaos.people",
    (sys.executable, "-m", "tests.chaos.racer"): "tests.chaos.racer",
}


def _command(argv: Sequence[str]) -> tuple[str, ...] | None:
    """The beginning of a command by which one of the programs is started."""
    return next((c for c in _COMMANDS if tuple(argv[: len(c)]) == c), None)


class Process:
    """A fork, with the part of :class:`subprocess.Popen` that a ``Child`` uses."""

    stdout = None

    def __init__(self, pid: int, told: int) -> None:
        """Know it by its pid, and by the pipe on which its end is told."""
        self.pid = pid
        self.returncode: int | None = None
        self._told = os.fdopen(told, "rb", buffering=0)
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """The pipe on which its end is told, for those that wait for other things, too."""
        return self._told.fileno()

    def poll(self) -> int | None:
        """The return code; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it still runs then.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with suppress(ValueError):  # another thread has read it meanwhile
            while self.returncode is None:
                left = _LOOK_S if until is None else min(until - time.monotonic(), _LOOK_S)
                if readable([self._told], max(left, 0)):
                    break
                if until is not None and time.monotonic() >= until:
                    raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        with self._lock:
            if self.returncode is None:  # nothing is told where the forking process was killed
                self.returncode = int(self._told.read(16) or -signal.SIGKILL)
                self._told.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Forking:
    """A process that forks, from the side that asks it to; it ends with this one.

    Args:
        env: its variables; those that are read early are those of all its forks.
        preloaded: modules that it imports beside those of Celery's command.
    """

    def __init__(self, env: Mapping[str, str], *preloaded: str) -> None:
        self._lock = threading.Lock()
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno()), *preloaded],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
                env=env,
                start_new_session=True,
            )

    def start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        output: int,
        errors: int,
        *keep: int,
        given: int | None = None,
    ) -> Process:
        """Start a program.

        Args:
            argv: its command.
            env: its variables.
            output: the file that it writes to.
            errors: the file of its errors.
            keep: descriptors that it holds until its end.
            given: the file that it reads; otherwise nothing.
        """
        command = _command(argv)
        assert command is not None
        rest = list(argv[len(command) :])
        reads = given is not None
        about = {"module": _COMMANDS[command], "argv": rest, "env": dict(env), "reads": reads}
        told, telling = os.pipe()
        try:
            with self._lock:
                files = [telling, output, errors, *([] if given is None else [given]), *keep]
                socket.send_fds(self._channel, [json.dumps(about).encode()], files)
                pid = self._channel.recv(16)
        finally:
            os.close(telling)
        if not pid:
            raise RuntimeError("The process that forks has ended.")
        return Process(int(pid), told)


Early = frozenset[tuple[str, str]]


def _early(env: Mapping[str, str]) -> Early:
    return frozenset((k, v) for k, v in env.items() if k.startswith(_EARLY))


class Nursery:
    """The processes that fork: one for each set of variables that are read early."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._own = dict(_early(os.environ))
        self._forking: dict[Early, Forking] = {}
        self._seen: set[Early] = set()  # a process was started as ever with these

    def restore(self) -> None:
        """Take back what a test has left in the environment, as Celery's logging does.

        Its processes would have it, and forks that have not are no substitute then.
        """
        for name in [n for n in os.environ if n.startswith(_EARLY) and n not in self._own]:
            del os.environ[name]
        os.environ.update(self._own)

    @cached_property
    def _usual(self) -> Early:
        return _early(self._environ)

    @cached_property
    def _environ(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    def takes(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> bool:
        """Return whether a fork does the same as a new process would, and comes cheaper."""
        return self._could(argv, cwd) and _early(env) in {self._usual, *self._seen}

    def leaves(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        """Know that a process is started as ever."""
        if self._could(argv, cwd):
            self._seen.add(_early(env))

    def _could(self, argv: Sequence[str], cwd: Path) -> bool:
        return sys.platform == "linux" and _command(argv) is not None and cwd == ROOT

    def start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        output: int,
        errors: int,
        *keep: int,
        given: int | None = None,
    ) -> Process:
        """Start a program; see :meth:`Forking.start`."""
        early = _early(env)
        with self._lock:
            if early not in self._forking:
                usual = early == self._usual
                made = Forking(self._environ, *SDKS) if usual else Forking(env)
                self._forking[early] = made
        return self._forking[early].start(argv, env, output, errors, *keep, given=given)


#: There is one in a run of pytest (tests/conftest.py).
nursery: Nursery | None = None


def nursery_of(argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> Nursery | None:
    """The one that forks this process; none where it has to be started as ever."""
    if nursery is not None and not nursery.takes(argv, env, cwd):
        nursery.leaves(argv, env, cwd)
        return None
    return nursery


class Fork(Child):
    """A child of ours that is a fork, where that makes no difference."""

    def _started(self, argv: Sequence[str], **how: Any) -> Any:
        by = nursery_of(argv, how["env"], how["cwd"])
        if by is None:
            return super()._started(argv, **how)
        with how["output"].open("ab") as file:
            return by.start(argv, how["env"], file.fileno(), file.fileno(), how["lock"])


def run(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as :func:`subprocess.run` does; a fork where that is the same."""
    by = nursery_of(argv, env, cwd)
    if by is None:
        return subprocess.run(
            argv, env=env, cwd=cwd, capture_output=True, text=True, check=False, timeout=timeout_s
        )
    with TemporaryFile() as output, TemporaryFile() as errors:
        process = by.start(argv, env, output.fileno(), errors.fileno())
        try:
            process.wait(timeout_s)
        finally:
            process.send_signal(signal.SIGKILL)
        for file in (output, errors):
            file.seek(0)
        said = (file.read().decode() for file in (output, errors))
        return subprocess.CompletedProcess(argv, process.wait(), *said)


class _Orders:
    """The other side: forks a child for each order, and tells how each has ended."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._telling: dict[int, int] = {}  # the pipe of each child
        self._woken, waking = socket.socketpair()
        for end in (self._woken, waking):
            end.setblocking(False)
        self._waking = waking
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)

    def serve(self) -> tuple[str, list[str]]:
        """Serve until the asking process has gone, which ends this one.

        Returns:
            In a child: its module and its arguments.
        """
        while True:
            ready = readable([self._channel, self._woken])
            if self._woken in ready:
                self._woken.recv(4096)
                self._reap()
            if self._channel not in ready:
                continue
            order, files, _, _ = socket.recv_fds(self._channel, _MESSAGE_BYTES, 8)
            if not order:
                raise SystemExit
            wanted = json.loads(order)
            if wanted["module"] != "celery":
                _preload(wanted["module"])
            if pid := os.fork():
                self._telling[pid] = files[0]
                for file in files[1:]:
                    os.close(file)
            else:
                return self._become(wanted, files)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                telling = self._telling.pop(pid)
                os.write(telling, b"%d" % os.waitstatus_to_exitcode(status))
                os.close(telling)

    def _become(self, order: dict[str, Any], files: list[int]) -> tuple[str, list[str]]:
        """Be a process that was started so."""
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        telling, output, errors, *keep = files
        if order["reads"]:
            os.dup2(keep[0], 0)
            os.close(keep.pop(0))
        os.dup2(output, 1)
        os.dup2(errors, 2)
        for file in keep:
            os.set_inheritable(file, True)
        os.environ.clear()
        os.environ.update(order["env"])
        self._channel.send(b"%d" % os.getpid())
        others = (self._channel, self._woken, self._waking)
        for end in others:
            end.close()
        for file in (telling, output, errors, *self._telling.values()):
            os.close(file)
        return order["module"], order["argv"]


def know_redis() -> None:
    """Read redis-py's version once: each of its connections looks for it, in 3 ms."""
    from redis import utils

    utils.get_lib_version = partial(str, metadata.version("redis"))


def _read_once() -> None:
    """Read what is installed here, and not in each fork: it is a third of a worker's start."""
    metadata.entry_points = metadata.entry_points().select
    know_redis()


@cache
def _preload(module: str, *more: str) -> None:
    for name in (*PRELOADED[module], *more):
        importlib.import_module(name)
    configure_mappers()  # of classes that are imported, as their first query would
    gc.collect()
    gc.freeze()


def _main(channel: int, *more: str) -> None:
    _read_once()
    _preload("celery", *more)
    from app.journal.schema import migrate

    migrate.head()  # it reads each of the migrations
    module, sys.argv[1:] = _Orders(socket.socket(fileno=channel)).serve()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main(int(sys.argv[1]), *sys.argv[2:])
