"""An event loop that does the same each time: no clock, no sockets, no threads.

Tasks run one after the other until all of them wait. Time stands still meanwhile, and what they
wait for comes from outside, in an order that is written down. So ``asyncio``'s own ``gather``,
``wait_for``, ``sleep``, ``TaskGroup`` and ``Queue`` do in a replay what they did before.

Where the order would hang on addresses in memory, tasks and futures hash by their number: sets of
them are iterated alike.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import Context
from typing import Any, NoReturn, TypeVar

from celery_agents.errors import FlowError

T = TypeVar("T")
#: Turns of a task between two waits of all: a flow that takes more goes round without an end.
TURNS_MAX = 1_000_000


class FlowTask(asyncio.Task[T]):
    """A task of a flow, which hashes by its number."""

    def __init__(self, coro: Any, *, number: int, **about: Any) -> None:
        self.number = number  # first: asyncio keeps it in a set
        super().__init__(coro, **about)
        self._log_destroy_pending = False  # instances of flows are let go of while they wait

    def __hash__(self) -> int:
        return self.number

    __eq__ = object.__eq__


class FlowFuture(asyncio.Future[T]):
    """A future of a flow, which hashes by its number."""

    def __init__(self, *, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self.number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number

    __eq__ = object.__eq__


class FlowLoop(asyncio.AbstractEventLoop):
    """The loop of one instance of a flow.

    Args:
        timer: called with each timer that is set.
        untimer: called with each one that is cancelled.
    """

    def __init__(
        self,
        timer: Callable[[asyncio.TimerHandle], None],
        untimer: Callable[[asyncio.TimerHandle], None],
    ) -> None:
        self.now = 0.0
        self.tasks: list[FlowTask[Any]] = []
        self._timer = timer
        self._untimer = untimer
        self._ready: deque[asyncio.Handle] = deque()
        self._number = 0
        self._left = TURNS_MAX
        self._context = Context()

    # -- what coroutines ask of a loop

    def time(self) -> float:
        """The flow's time: when what it knows last had happened."""
        return self.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def create_future(self) -> asyncio.Future[Any]:
        return FlowFuture(number=self._next(), loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: object = None,
        context: Context | None = None,
        **more: Any,
    ) -> asyncio.Task[T]:
        _refuse_sets()
        number = self._next()
        about: dict[str, Any] = {"name": name or f"task-{number}", "context": context, **more}
        task = FlowTask[T](coro, number=number, loop=self, **about)
        self.tasks.append(task)
        return task

    def call_soon(  # type: ignore[override]  # typeshed ties arguments to the callback
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]  # typeshed ties arguments to the callback
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]  # typeshed ties arguments to the callback
        self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        handle._scheduled = True  # type: ignore[attr-defined]  # noqa: SLF001 - a loop's part
        self._timer(handle)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._untimer(handle)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Tell nobody: an error that nobody awaits is seen where the flow ends, or never."""

    # -- what an instance does with it

    def run(self, work: Callable[..., None], *args: Any) -> None:
        """Do something within the loop, then let all tasks go on until they wait.

        Raises:
            FlowError: they go round without waiting.
        """
        outer = asyncio._get_running_loop()  # noqa: SLF001 - a loop's part
        around = asyncio.current_task(outer) if outer is not None else None
        if outer is not None and around is not None:
            asyncio.tasks._leave_task(outer, around)  # noqa: SLF001 - as above
        asyncio._set_running_loop(self)  # noqa: SLF001 - as above
        try:
            self._context.run(self._turn, work, *args)
        finally:
            asyncio._set_running_loop(outer)  # noqa: SLF001 - as above
            if outer is not None and around is not None:
                asyncio.tasks._enter_task(outer, around)  # noqa: SLF001 - as above

    def _turn(self, work: Callable[..., None], *args: Any) -> None:
        work(*args)
        self._left = TURNS_MAX
        while self._ready:
            with suppress(SystemExit, KeyboardInterrupt):  # the task that raised it ended by it
                self._drain()

    def _drain(self) -> None:
        ready = self._ready
        while ready:
            handle = ready.popleft()
            self._left -= 1
            if not self._left:
                raise FlowError("The flow goes round and round without waiting for anything.")
            if not handle.cancelled():
                handle._run()  # noqa: SLF001 - a loop's part

    def _next(self) -> int:
        self._number += 1
        return self._number


def _refuse_io(*_: Any, **__: Any) -> NoReturn:
    raise FlowError(
        "A flow does no I/O and starts no threads: it is run again from its start, each time "
        "something comes. Let an agent do it: await run.ask(…)."
    )


def _refuse_sets() -> None:
    """See that tasks are not made of a set of coroutines, whose order is that of addresses.

    Raises:
        FlowError: ``asyncio.as_completed`` makes them so.
    """
    frame = sys._getframe(2)  # noqa: SLF001 - whoever wants a task
    if "ensure_future" not in frame.f_code.co_name:  # as for most
        return
    within: Any = frame.f_back
    for _ in range(3):
        if within is None or within.f_globals.get("__name__") != "asyncio.tasks":
            return
        if within.f_code.co_name == "as_completed":
            raise FlowError(
                "asyncio.as_completed begins coroutines in any order: give it tasks, "
                "[asyncio.create_task(c) for c in coroutines]."
            )
        within = within.f_back


for _name, _method in vars(asyncio.AbstractEventLoop).items():
    if not _name.startswith("_") and callable(_method) and _name not in vars(FlowLoop):
        setattr(FlowLoop, _name, _refuse_io)
