"""Processes of Celery and of the API as forks of one that has imported what they import.

A worker takes a second and a half of CPU to import Celery, SQLAlchemy and the service, two more
for the SDKs when it first asks models, and a fork a few hundredths. Everything else is as if it had
been started: a session of its own, its arguments, directory, environment and files, the program's
``__main__``, and an interpreter that ends as each does. Importing decides nothing
(tests/unit/test_imports.py): no module of ours reads the environment, connects, or draws a number
that two processes must not share.

Started as ever is what is not the checkout's own ``python -m celery`` or ``python -P -m api``, or
``python -m celery`` of an installed wheel that :meth:`Nursery.know` was told of; so are all
processes outside of pytest, as those of ``./run chaos`` and ``./run bench``. Variables that others
read as they are imported, or that Python reads as it starts, are those of the process that forks:
of each set of them the first process is started as ever, and the second by one of its own; a wheel
that is known has more than one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self

from deploy.local.child import Child
from deploy.local.state import ROOT
from tests.support.forking import PRELOADED, SDKS
from tests.support.readable import readable

#: Seconds after which whoever waits looks whether another thread has read the end meanwhile: it has
#: closed the pipe then, whose number may be another one's by now.
_LOOK_S = 0.5
#: Variables by such names work when an interpreter starts, or when Celery and kombu are imported.
_EARLY = (
    *("PYTHON", "LD_", "MALLOC_", "LC_", "LANG", "TZ", "COVERAGE"),
    *("CELERY_", "C_", "MP_", "KOMBU_", "AUTOSCALE_", "DISABLE_"),
)
#: By these names Celery finds its servers and its loader when an app is made.
_LATE = frozenset(
    {
        *("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"),
        *("CELERY_RESULT_BACKEND", "CELERY_LOADER", "CELERY_BROKER"),
    }
)
#: How an interpreter starts programs, and which module each one is.
_COMMANDS = {
    ("-m", "celery"): "celery",
    ("-P", "-m", "api"): "api",
    ("-P", "-m", "api.mcp"): "api.mcp",
    ("-m", "tests.chaos.people"): "tests.chaos.people",
    ("-m", "tests.chaos.racer"): "tests.chaos.racer",
    ("-m", "tests.chaos.subscriber"): "tests.chaos.subscriber",
    ("-m", "tests.support.kombu_consumer"): "tests.support.kombu_consumer",
}


#: What the workers of tests import, and what shows how to work through a journal.
_TESTS = ("tests.support.agents", "tests.unit.app.journal.working")


def _command(argv: Sequence[str]) -> tuple[str, ...] | None:
    """The words behind the interpreter by which one of the programs is started."""
    return next((c for c in _COMMANDS if tuple(argv[1 : len(c) + 1]) == c), None)


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
        channel: on which it is asked.
        placed: it is one of an installed wheel, whose processes stand in folders of their own.
    """

    def __init__(self, channel: socket.socket, *, placed: bool = False) -> None:
        self._lock = threading.Lock()
        self._channel = channel
        self._placed = placed
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def begun(
        cls, python: str, folder: Path, env: Mapping[str, str], home: str, *preloaded: str
    ) -> Self:
        """Start one.

        Args:
            python: its interpreter.
            folder: where it finds the modules of the tests.
            env: its variables; those that are read early are those of all its forks.
            home: the package below which its service is; "" in the checkout.
            preloaded: modules that it imports beside those of Celery's command.
        """
        channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        made = cls(channel, placed=bool(home))
        with theirs:
            made._process = subprocess.Popen(
                [python, "-m", "tests.support.forking", str(theirs.fileno()), home, *preloaded],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd=folder,
                env=env,
                start_new_session=True,
            )
        return made

    def branch(self, *more: str) -> Forking:
        """Return one that has imported what this one has, and more: for a fork of this process."""
        channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            order = json.dumps({"more": more}).encode()
            socket.send_fds(self._channel, [order], [theirs.fileno()])
        return Forking(channel, placed=self._placed)

    def learn(self, url: str) -> None:
        """Have it know the statements of journals like this one, which is used for nothing else."""
        with self._lock:
            self._channel.send(json.dumps({"learnt": url}).encode())
            if not self._channel.recv(16):
                raise RuntimeError("The process that forks has ended.")

    def close(self) -> None:
        """End it, and those that it has started."""
        self._channel.close()

    def start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        output: int,
        errors: int,
        *keep: int,
        cwd: Path,
        given: int | None = None,
    ) -> Process:
        """Start a program.

        Args:
            argv: its command.
            env: its variables.
            output: the file that it writes to.
            errors: the file of its errors.
            keep: descriptors that it holds until its end.
            cwd: its folder.
            given: the file that it reads; otherwise nothing.
        """
        command = _command(argv)
        assert command is not None
        rest = list(argv[len(command) + 1 :])
        about: dict[str, Any] = {"module": _COMMANDS[command], "argv": rest, "env": dict(env)}
        about |= {"reads": given is not None} | ({"cwd": str(cwd)} if self._placed else {})
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
    return frozenset((k, v) for k, v in env.items() if k.startswith(_EARLY) and k not in _LATE)


@dataclass(frozen=True)
class Wheel:
    """An installed wheel whose processes are forked.

    Args:
        folder: where the modules of the tests are found, and none of the checkout.
        home: the package below which it has the service.
        preloaded: what its workers import beside the service.
    """

    folder: Path
    home: str
    preloaded: tuple[str, ...] = ()


class Nursery:
    """The processes that fork: one for each set of variables that are read early."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._own = dict(_early(os.environ))
        self._forking: dict[tuple[str, Early], Forking] = {}
        self._seen: set[tuple[str, Early]] = set()  # a process was started as ever with these
        self._wheels: dict[str, Wheel] = {}
        self._pid = os.getpid()

    def know(self, python: Path, wheel: Wheel) -> None:
        """Fork Celery's processes of this interpreter, too."""
        self._wheels[str(python)] = wheel

    def prepare(self) -> None:
        """Start the one for usual processes: those of forks of this process are its branches."""
        more = (*SDKS, *PRELOADED["api"], *PRELOADED["api.mcp"], *_TESTS)
        self._forking[self._usual] = Forking.begun(sys.executable, ROOT, self._environ, "", *more)

    def learn(self, url: str) -> None:
        """Have usual processes know the statements of a journal, where many are to be forked."""
        if self._usual in self._forking:
            with self._lock:
                forking = self._forking_of(sys.executable, self._environ)
            forking.learn(url)

    @contextmanager
    def having(self, *more: str) -> Iterator[None]:
        """Fork usual processes of one that has imported more modules, for as long as the block."""
        with self._lock:
            before = self._forking_of(sys.executable, self._environ)
            self._forking[self._usual] = before.branch(*more)
        try:
            yield
        finally:
            self._forking[self._usual].close()
            self._forking[self._usual] = before

    def restore(self) -> None:
        """Take back what a test has left in the environment, as Celery's logging does.

        Its processes would have it, and forks that have not are no substitute then.
        """
        for name in [n for n in os.environ if n.startswith(_EARLY) and n not in self._own]:
            del os.environ[name]
        os.environ.update(self._own)

    @cached_property
    def _usual(self) -> tuple[str, Early]:
        return sys.executable, _early(self._environ)

    @cached_property
    def _environ(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    def takes(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> bool:
        """Return whether a fork does the same as a new process would, and comes cheaper."""
        several = argv[0] in self._wheels or (argv[0], _early(env)) in {self._usual, *self._seen}
        return several and self._could(argv, cwd)

    def leaves(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        """Know that a process is started as ever."""
        if self._could(argv, cwd):
            self._seen.add((argv[0], _early(env)))

    def _could(self, argv: Sequence[str], cwd: Path) -> bool:
        command = _command(argv)
        if sys.platform != "linux" or command is None:
            return False
        if argv[0] in self._wheels:
            return _COMMANDS[command] == "celery"
        return argv[0] == sys.executable and cwd == ROOT

    def start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        output: int,
        errors: int,
        *keep: int,
        cwd: Path = ROOT,
        given: int | None = None,
    ) -> Process:
        """Start a program; see :meth:`Forking.start`."""
        with self._lock:
            forking = self._forking_of(argv[0], env)
        return forking.start(argv, env, output, errors, *keep, cwd=cwd, given=given)

    def _forking_of(self, python: str, env: Mapping[str, str]) -> Forking:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._forking = {key: forking.branch() for key, forking in self._forking.items()}
        key = python, _early(env)
        if key not in self._forking:
            self._forking[key] = self._begun(python, env, usual=key == self._usual)
        return self._forking[key]

    def _begun(self, python: str, env: Mapping[str, str], *, usual: bool) -> Forking:
        if wheel := self._wheels.get(python):
            own = {**env, "PYTHONPATH": str(wheel.folder)}
            return Forking.begun(python, wheel.folder, own, wheel.home, *wheel.preloaded)
        if usual:
            return Forking.begun(python, ROOT, self._environ, "", *SDKS)
        return Forking.begun(python, ROOT, env, "")


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
            out, lock = file.fileno(), how["lock"]
            return by.start(argv, how["env"], out, out, lock, cwd=how["cwd"])


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
        process = by.start(argv, env, output.fileno(), errors.fileno(), cwd=cwd)
        try:
            process.wait(timeout_s)
        finally:
            process.send_signal(signal.SIGKILL)
        for file in (output, errors):
            file.seek(0)
        said = (file.read().decode() for file in (output, errors))
        return subprocess.CompletedProcess(argv, process.wait(), *said)
