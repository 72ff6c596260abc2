"""Several files of tests at once, in forks of the process that has collected them: ``--at-once N``.

Each process of pytest-xdist starts anew and collects all tests, which costs 48 s of CPU in a fresh
checkout. A fork has what was imported and collected, and shares its memory. A worker takes the next
file when it is done with one; what it tells goes through the hooks of the process that collected:
reports, options and the exit code are those of any run. Of each test it tells at its end and at
once: a message for each of its five parts took 0.1 ms of CPU a test, and this one 0.02.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
import time
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from mmap import mmap
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn

import pytest

#: Seconds that a worker has for the ends of its fixtures when the run is broken off: servers and
#: workers that they have started outlive one that is killed.
_END_S = 60.0
#: Seconds after which those are looked for that have ended, and whose channel others have.
_LOOK_S = 1.0
_PHASES = ("setup", "call", "teardown")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Know the options."""
    parser.addoption(
        "--at-once",
        type=int,
        default=1,
        metavar="N",
        help="run N files of tests at once, in forks of this process",
    )
    parser.addoption(
        "--ahead",
        metavar="FILE",
        help="with --at-once: a file that runs while the others are collected",
    )


def pytest_collection(session: pytest.Session) -> None:
    """Begin with the file that runs ahead: collecting takes one core, and this one another."""
    options = session.config.option
    if options.ahead and options.at_once > 1 and not (options.collectonly or options.usepdb):
        runner = _forked(session, 0, [], options.ahead)
        session.stash[_AHEAD] = runner
        session.config.add_cleanup(runner.break_off)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the files by forks, where several are to run at once and nobody debugs."""
    options = session.config.option
    failed = session.testsfailed and not options.continue_on_collection_errors
    if options.at_once < 2 or options.collectonly or options.usepdb or failed:
        return None
    FilesAtOnce(session, options.at_once).run()
    return True


class Begun:
    """How many tests a runner has begun: a number in memory that outlives it."""

    _FORM = struct.Struct("q")

    def __init__(self) -> None:
        self._memory = mmap(-1, self._FORM.size)

    @property
    def count(self) -> int:
        """How many there are."""
        count: int = self._FORM.unpack_from(self._memory)[0]
        return count

    def add(self) -> None:
        """Know of one more."""
        self._FORM.pack_into(self._memory, 0, self.count + 1)


class FileRunner:
    """A fork that runs files, from the side of the process that collected.

    Args:
        number: its place among those that run at once.
        pid: its process.
        channel: on which it tells what it does, and is given files.
        begun: how many tests it has begun.
    """

    def __init__(self, number: int, pid: int, channel: Connection, begun: Begun) -> None:
        self.number = number
        self.channel = channel
        self.tests: range | None = None  # those of its file, by their places
        self.begun = begun
        self.finished = 0  # tests of which it has told
        self._before = 0  # tests of the files before this one
        self._pid = pid
        self._code: int | None = None

    def give(self, tests: range | None) -> None:
        """Give it the tests of the next file; None ends it."""
        self.tests = tests
        self._before = self.finished = self.begun.count
        with suppress(ConnectionError):  # its end is read next
            self.channel.send(tests)

    @property
    def left(self) -> range | None:
        """Tests of its file that it has not begun; None: it has no file."""
        return None if self.tests is None else self.tests[self.begun.count - self._before :]

    @property
    def amid(self) -> int | None:
        """The place of the test that it has begun, and has not told of."""
        if not self.tests or self.begun.count == self.finished:
            return None
        return self.tests[self.begun.count - self._before - 1]

    def wait(self) -> int:
        """Wait for its end, and return its exit code."""
        self.channel.close()
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return self._code

    def has_ended(self) -> bool:
        """Return whether its process has; what it told may not be read yet."""
        if self._code is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code is not None

    def interrupt(self) -> None:
        """Have it end, once."""
        if not (self.channel.closed or self.has_ended()):
            self.channel.close()
            os.kill(self._pid, signal.SIGINT)

    def break_off(self) -> None:
        """End it, unless it has ended."""
        self.interrupt()
        until = time.monotonic() + _END_S
        while not self.has_ended():
            if time.monotonic() > until:
                os.kill(self._pid, signal.SIGKILL)
            time.sleep(0.05)


#: The one that has begun before the others are collected.
_AHEAD = pytest.StashKey[FileRunner]()


def _forked(
    session: pytest.Session, number: int, others: Iterable[Connection], ahead: str | None = None
) -> FileRunner:
    """Fork one that runs files, with a place among those that run at once."""
    config: Any = session.config
    config._tmp_path_factory.getbasetemp()  # the folder in which each one has its own
    ours, theirs = Pipe()
    begun = Begun()
    sys.stdout.flush()  # a fork would write what waits, too
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy's threads are no hindrance
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until it can be interrupted
        pid = os.fork()
    if not pid:
        for channel in (ours, *others):
            channel.close()
        _Running(session, theirs, begun).run(number, ahead)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    theirs.close()
    return FileRunner(number, pid, ours, begun)


class RollCall:
    """Holds what is told of tests against what was collected: of each all of it, and once.

    Args:
        tests: ids of those that were collected.
        phases: of which something is told.
    """

    def __init__(self, tests: Iterable[str], phases: Iterable[str]) -> None:
        self._collected = Counter(tests)
        self._phases = tuple(phases)
        self._told: Counter[tuple[str, str | None]] = Counter()

    def note(self, report: object) -> None:
        """Know what is told."""
        if type(report) is not pytest.TestReport:
            return  # of a part of a test
        self._told[report.nodeid, report.when] += 1
        if report.when == "setup" and not report.passed:
            self._told[report.nodeid, "call"] += 1  # there is none to be told of

    def forget(self, test: str) -> None:
        """Leave out one that was broken off, which has failed by that."""
        del self._collected[test]

    def differing(self) -> Iterator[tuple[str, str]]:
        """Yield tests that have not run as they were collected, and what was told of them."""
        for test, times in self._collected.items():
            told = {phase: self._told[test, phase] for phase in self._phases}
            if set(told.values()) != {times}:
                counts = ", ".join(f"{phase} {n}" for phase, n in told.items())
                yield test, f"{test} was collected {times} times, and told of: {counts}."


class FilesAtOnce:
    """The files of a run, and those that run them.

    Args:
        session: what was collected.
        at_once: how many files run at a time.
    """

    def __init__(self, session: pytest.Session, at_once: int) -> None:
        self._session = session
        self._config = session.config
        places = groupby(range(len(session.items)), lambda place: session.items[place].path)
        files = [[*file] for _, file in places]
        self._files = deque(range(file[0], file[-1] + 1) for file in files)
        self._at_once = min(at_once, len(files))
        self._runners: dict[Connection, FileRunner] = {}
        phases = ("setup", "teardown") if self._config.option.setuponly else _PHASES
        self._roll = RollCall((item.nodeid for item in session.items), phases)

    def run(self) -> None:
        """Run all files.

        Raises:
            pytest.Session.Failed: as many tests failed as were to.
            pytest.Session.Interrupted: the run is to stop.
        """
        if terminal := self._config.pluginmanager.getplugin("terminalreporter"):
            terminal.showfspath = False  # results of several files come mixed
        ahead = self._session.stash.get(_AHEAD, None)
        begun = ahead is not None and self._join(ahead)
        try:
            for number in range(1 if begun else 0, self._at_once):
                self._start(number, self._files.popleft())
            while self._runners:
                for channel in (ready := wait(list(self._runners), _LOOK_S)):
                    assert isinstance(channel, Connection)
                    self._hear(self._runners[channel])
                if not ready:
                    self._look()
        finally:
            for runner in self._runners.values():
                runner.interrupt()
            for runner in self._runners.values():
                runner.break_off()
        for test, said in self._roll.differing():
            self._fail(test, said)

    def _look(self) -> None:
        """Know those that have ended, and whose channel a process has that outlives them."""
        for runner in [*self._runners.values()]:
            if runner.has_ended() and not runner.channel.poll():
                self._ended(runner)

    def _start(self, number: int, tests: range) -> None:
        runner = _forked(self._session, number, self._runners)
        self._runners[runner.channel] = runner
        runner.give(tests)

    def _join(self, runner: FileRunner) -> bool:
        """Hear one that runs a file ahead, unless the file is not among what was collected."""
        file = self._config.rootpath / self._config.option.ahead
        tests = next((t for t in self._files if self._session.items[t[0]].path == file), None)
        if tests is None:
            runner.break_off()
            return False
        self._files.remove(tests)
        runner.tests = tests
        self._runners[runner.channel] = runner
        return True

    def _hear(self, runner: FileRunner) -> None:
        told: Any = None
        with suppress(EOFError, OSError):  # also amid what it told
            told = runner.channel.recv()
        # Not while that is handled: errors of tests of one that is forked then would have it, too.
        if told is None:
            self._ended(runner)
        else:
            for hook, about in told:
                self._told(runner, hook, about)
        if self._session.shouldfail:
            raise self._session.Failed(self._session.shouldfail)
        if self._session.shouldstop:
            raise self._session.Interrupted(self._session.shouldstop)

    def _told(self, runner: FileRunner, hook: str, about: dict[str, Any]) -> None:
        if not hook:  # its file is done
            knows = runner is not self._session.stash.get(_AHEAD, None)
            runner.give(self._files.popleft() if self._files and knows else None)
            return
        runner.finished += hook == "pytest_runtest_logfinish"
        if hook == "pytest_runtest_logreport":
            about["report"] = self._config.hook.pytest_report_from_serializable(
                config=self._config, data=about["report"]
            )
            self._roll.note(about["report"])
        caller = getattr(self._config.hook, hook)
        if caller.is_historic():
            caller.call_historic(kwargs=about)
        else:
            caller(**about)

    def _ended(self, runner: FileRunner) -> None:
        """Have another one take what is left: of its file, and of the others."""
        del self._runners[runner.channel]
        code = runner.wait()
        if runner.left is not None or code:
            self._fails(runner, code)
        left = runner.left if runner.begun.count else None  # the next one would end so, too
        left = left or (self._files.popleft() if self._files else None)
        if left:
            self._start(runner.number, left)

    def _fails(self, runner: FileRunner, code: int) -> None:
        amid = runner.amid
        test = f"runner {runner.number}" if amid is None else self._session.items[amid].nodeid
        self._roll.forget(test)
        self._fail(test, f"The process that ran {test} ended with {code}.")

    def _fail(self, test: str, said: str) -> None:
        path = test.partition("::")[0]
        report = pytest.TestReport(test, (path, None, test), {}, "failed", said, "call")
        self._config.hook.pytest_runtest_logreport(report=report)


class _Terminal:
    """The writer that time limits ask for: without it they fail, and not the test that hangs."""

    def __init__(self, writer: object) -> None:
        self._tw = writer


def _ignored(*_: object) -> None:
    """Be no interruption. What is started now does not inherit it, as it would SIG_IGN."""


def _interrupted(*_: object) -> None:
    """Be interrupted once, by the terminal or the other side: what a test ends then, ends."""
    signal.signal(signal.SIGINT, _ignored)
    raise KeyboardInterrupt


class _Running:
    """The other side: runs the tests of the files that it is given, and tells of them."""

    def __init__(self, session: pytest.Session, channel: Connection, begun: Begun) -> None:
        self._session = session
        self._config: Any = session.config
        self._channel = channel
        self._begun = begun
        self._settled = False
        self._untold: list[tuple[str, dict[str, Any]]] = []

    def run(self, number: int, ahead: str | None = None) -> NoReturn:
        """Run until nothing is left, or the one that gives files has gone.

        Args:
            number: its place among those that run at once.
            ahead: a file that it collects and runs before the others are collected.
        """
        code = 1
        try:
            signal.signal(signal.SIGINT, _interrupted)
            with suppress(EOFError, ConnectionError, KeyboardInterrupt):  # it is broken off
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
                self._settle(number)
                self._serve(ahead)
            signal.signal(signal.SIGINT, _ignored)
            self._tear_down()
            with suppress(ConnectionError):
                self._tell()
            code = 0
        except BaseException:  # noqa: BLE001 # nothing of it may run what the other side is to run
            traceback.print_exc()
        finally:
            with suppress(OSError):
                sys.stdout.flush()
            os._exit(code)

    def _serve(self, ahead: str | None) -> None:
        if ahead:
            self._session.perform_collect([ahead])
            self._run(range(len(self._session.items)))
            self._tell(("", {}))
        while (tests := self._channel.recv()) is not None:
            self._run(tests)
            self._tell(("", {}))

    def _tell(self, *last: tuple[str, dict[str, Any]]) -> None:
        """Tell all that is not told yet."""
        told, self._untold = [*self._untold, *last], []
        if told:
            self._channel.send(told)

    def _settle(self, number: int) -> None:
        """Have output, temporary files and reports of its own."""
        plugins = self._config.pluginmanager
        capture = plugins.getplugin("capturemanager")
        capture.stop_global_capturing()  # its files are those of all forks
        capture.start_global_capturing()
        capture.suspend_global_capture()
        folders = self._config._tmp_path_factory
        folders._basetemp = folders.mktemp(f"runner-{number}-{os.getpid()}", numbered=False)
        if terminal := plugins.getplugin("terminalreporter"):
            plugins.unregister(terminal)
            plugins.register(_Terminal(terminal._tw), "terminalreporter")
        plugins.register(self, "at-once")
        self._settled = True

    def _run(self, tests: range) -> None:
        for place in tests:
            item = self._session.items[place]
            # Fixtures of the session stay for the next file, those of the file go after its last.
            following = self._session.items[place + 1] if place + 1 in tests else self._session
            self._config.hook.pytest_runtest_protocol(item=item, nextitem=following)

    def _tear_down(self) -> None:
        self._session._setupstate.teardown_exact(None)

    def pytest_runtest_logstart(self) -> None:
        """Know that a test begins: the terminal's line of it is written with its result."""
        self._begun.add()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Know how it went."""
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._untold.append(("pytest_runtest_logreport", {"report": data}))

    def pytest_runtest_logfinish(self, nodeid: str, location: object) -> None:
        """Tell of it."""
        about = {"nodeid": nodeid, "location": location}
        self._untold.append(("pytest_runtest_logfinish", about))
        self._tell()

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str, location: object
    ) -> None:
        """Tell of a warning, by its text: not every one can be sent."""
        if not self._settled:
            return  # of those from before the fork, which pytest tells to each new plugin
        w = warning_message
        told = warnings.WarningMessage(
            str(w.message), w.category, w.filename, w.lineno, line=w.line
        )
        about = {"warning_message": told, "when": when, "nodeid": nodeid, "location": location}
        self._untold.append(("pytest_warning_recorded", about))
