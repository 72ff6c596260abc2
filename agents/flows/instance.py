"""An instance of a flow: its code on its loop, with the commands that it gives.

It is told events one after the other, and runs after each to where it waits. While it is replayed,
its commands are held against those of the history; behind that they are new.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import re
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

from agents.flows.history import LINES_MAX, PATCHED, Difference, FlowCommand, Line, digest_of
from agents.flows.inbox import Inbox
from agents.flows.loop import FlowFuture, FlowLoop
from agents.flows.recorded import Recorded
from agents.flows.timers import Timers
from agents.flows.wants import BeginAnew, Cancel, Want
from celery_agents.contracts.outcome import ErrorInfo
from celery_agents.errors import HistoryTooLargeError, InvalidPayloadError

Read = Callable[[Any], Any]


class Scoped(Protocol):
    """A flow's function."""

    def __call__(self, run: Any, input: Any, /) -> Awaitable[Any]:  # noqa: A002 - as users write it
        ...


class Pending(FlowFuture[Any]):
    """The answer to a command; who cancels it lets go of what was asked for."""

    def __init__(self, instance: Instance, key: str, read: Read | None, number: int) -> None:
        super().__init__(number=number, loop=instance.loop)
        self.key = key
        self.read = read
        self._instance = instance

    def cancel(self, msg: Any = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled:
            self._instance.let_go(self.key)
        return cancelled

    def tell(self, value: Any) -> None:
        """Give it its value, as whoever asked reads it."""
        try:
            self.set_result(value if self.read is None else self.read(value))
        except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
            self.set_exception(error)


class Instance:
    """One run of a flow's code.

    Args:
        run_id: of the flow's step; what is random comes of it.
        generation: how often the run began anew; keys of the later ones say which they are of.
        forked: ``run_id`` is that of the run that it was forked from.
    """

    def __init__(
        self, run_id: str, generation: int = 0, *, forked: bool = False, remembers: bool = False
    ) -> None:
        self.run_id, self.generation, self.forked = run_id, generation, forked
        self._remembers = remembers
        self.makes: dict[str, Callable[[str], Want]] = {}  # of what was asked in its replay
        self._of = f"@{generation}" if generation else ""
        self.timers = Timers()
        self.loop = FlowLoop(  # type: ignore[abstract]  # typeshed: what a flow does not have raises
            self._set_timer, self.timers.remove
        )
        self.random = random.Random(f"{run_id}{self._of}")  # noqa: S311 - of the user's code, alike each time
        self.ids = random.Random(f"ids of {run_id}{self._of}")  # noqa: S311 - as above
        self.lines = 0  # that it was told
        self.difference: Difference | None = None
        #: Commands of the last event, and what of them is to be done.
        self.commands: list[FlowCommand] = []
        self.wants: list[Want] = []
        #: What it waits for, by keys of commands.
        self.open: dict[str, Pending] = {}
        self.inbox = Inbox()
        self._recorded: Recorded | None = None  # None: what comes now is new
        self._patches: dict[str, bool] = {}
        self._keys: set[str] = set()
        self._count, self._closed = 0, False
        self.main: asyncio.Task[Any] | None = None
        #: When it was cancelled.
        self.cancelled_at: float | None = None

    # -- events

    def start(self, begin: Callable[[], Any], line: Line, *, replayed: bool) -> None:
        """Begin with the code's coroutine, which ``begin`` makes."""

        def make() -> None:
            self.main = self.loop.create_task(begin())

        self._told(line, make, replayed=replayed)

    def tell(self, line: Line, *, replayed: bool = False) -> None:
        """Tell it what happened, and let it go on to where it waits."""
        self._told(line, lambda: self._happen(line), replayed=replayed)

    def replay(self, lines: Iterable[Line]) -> None:
        """Tell it lines of its history, up to one in which its code differs."""
        for line in lines:
            if self.difference is not None:
                return
            self.tell(line, replayed=True)

    def _told(self, line: Line, work: Callable[[], None], *, replayed: bool) -> None:
        self.loop.now = max(self.loop.now, line.at)
        self.commands, self.wants = [], []
        self._recorded = Recorded(line.commands) if replayed else None
        self.loop.run(work)
        if self._recorded and self._recorded.next is not None and self.difference is None:
            self._differ(self._recorded.next, None, _waits_at(self.main))
        self.lines += 1

    def _happen(self, line: Line) -> None:
        match line.kind:
            case "timer":
                self.timers.ring(line.key)
            case "signal":
                self.inbox.put(line.key, line.value)
            case "cancel":
                self.cancelled_at = line.at
                if self.main is not None:
                    self.main.cancel()
            case _:
                asked = self.open.pop(line.key, None)
                if asked is None or asked.done():  # it was let go of
                    return
                if line.kind == "failed":
                    asked.set_exception(ErrorInfo.model_validate(line.value).exception())
                else:
                    asked.tell(line.value)

    # -- what the code asks for

    def ask(
        self,
        kind: str,
        name: str,
        told: Any,
        make: Callable[[str], Want],
        *,
        key: str | None = None,
        read: Read | None = None,
    ) -> asyncio.Future[Any]:
        """Give a command, whose end the future gets. ``make`` says what is to be done."""
        known = self.command(kind, name, told, make, key=key)
        asked = Pending(self, known, read, self.loop._next())  # noqa: SLF001 - of the same folder
        if self.difference is None and not self._closed:
            self.open[known] = asked
            if self._remembers and self._recorded is not None:
                self.makes[known] = make
        return asked

    def command(
        self,
        kind: str,
        name: str,
        told: Any,
        make: Callable[[str], Want | None],
        *,
        key: str | None = None,
    ) -> str:
        """Give a command that nobody awaits; returns its key.

        Raises:
            InvalidPayloadError: what is asked is wrong; then nothing was asked.
            HistoryTooLargeError: its history is too long for that.
        """
        known = self._key(key)
        if self._closed:
            return known
        if self.lines >= LINES_MAX and kind != "cancel":
            raise HistoryTooLargeError(
                f"The history has {self.lines:,} lines. Begin anew with `run.again(state)`."
            )
        try:
            one = FlowCommand(known, kind, name, "" if told is None else digest_of(told))
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidPayloadError(f"{name}: it cannot be asked that: {error}") from None
        if self._recorded is None:
            want = make(known)
            if want is not None:
                self.wants.append(want)
        elif not self._recorded.meets(one) and self.difference is None:
            make(known)  # it may have been refused then as it is now
            self._differ(self._recorded.next, one, _place())
        self.commands.append(one)
        self._keys.add(known)
        self._count += key is None
        return known

    def signal(self, name: str) -> asyncio.Future[Any]:
        """A signal of that name: the first that nobody took, or the next that comes."""
        self.command("signal", name, None, lambda _: None)
        future = FlowFuture[Any](number=self.loop._next(), loop=self.loop)  # noqa: SLF001 - as above
        self.inbox.take(name, future)
        return future

    def patched(self, name: str) -> bool:
        """Return whether the run went this way, or goes it now; the same to its end."""
        if name not in self._patches:
            mark = FlowCommand(f"{PATCHED}/{name}", PATCHED, name, "")
            found = self._recorded is None or self._recorded.marked(mark)
            if found:
                self.commands.append(mark)
            self._patches[name] = found
        return self._patches[name]

    def let_go(self, key: str) -> None:
        """Note that nobody awaits the end of a command any more."""
        if self.open.pop(key, None) is not None:
            self.command("cancel", key, None, lambda _: Cancel(key))

    def _key(self, key: str | None) -> str:
        known = f"{self._count + 1 if key is None else key}{self._of}"
        if key is not None and (_OWN.fullmatch(key) or known in self._keys):
            raise InvalidPayloadError(f"key: {key} is one of the flow's own; choose another one.")
        return known

    # -- timers

    def _set_timer(self, handle: asyncio.TimerHandle) -> None:
        delay = round(handle.when() - self.loop.now, 6)
        key = self.command("timer", "", delay, lambda _: None)
        self.timers.add(key, handle)

    # -- how it stands

    @property
    def done(self) -> bool:
        """True when its code has ended."""
        return self.main is not None and self.main.done()

    def close(self) -> None:
        """Let go of it: what its code still does asks for nothing."""
        self._closed = True

        def end() -> None:
            for task in (one for one in self.loop.tasks if not one.done()):
                _close(task.get_coro())

        self.loop.run(end)

    def _differ(self, recorded: FlowCommand | None, asked: FlowCommand | None, place: str) -> None:
        self.difference = Difference(recorded, asked, self.lines, place)


#: Keys of commands that have none of the user's: numbers, and all of later generations.
_OWN = re.compile(r"\d+|.*@\d+", re.DOTALL)
#: Awaits of one coroutine, while it is let go of, that are passed by.
_AWAITS = 100


def _close(coroutine: Any) -> None:
    """End a coroutine where it waits; what its code does then, that nobody runs, is nobody's."""
    for _ in range(_AWAITS):
        with suppress(Exception, BeginAnew):
            coroutine.close()
        if inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED:
            return


def _waits_at(main: asyncio.Task[Any] | None) -> str:
    """The line of the code at which it waits, or ended."""
    frames = [] if main is None else main.get_stack()
    return f"{frames[-1].f_code.co_filename}:{frames[-1].f_lineno}" if frames else "its end"


#: Modules whose lines are not the user's.
_OURS = ("agents.flows", "agents.actors", "asyncio")


def _place() -> str:
    """The line of the user's code that asks."""
    frame: Any = sys._getframe(1)  # noqa: SLF001 - there is no other way to it
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not module.removeprefix("celery_agents.service.").startswith(_OURS):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "unknown"
