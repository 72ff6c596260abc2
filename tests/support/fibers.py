"""Running something in a fiber, as the coroutine pool runs steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.concurrency.fibers import Fiber
from app.concurrency.future import Future
from app.concurrency.loop import LoopThread, process_loop

#: Generous: a machine that is ten times slower.
SOON_S = 60


def in_a_fiber(function: Callable[[], Any], *, thread: LoopThread | None = None) -> Any:
    """Run the function in a fiber; return its result, or raise its error."""
    thread = thread or process_loop()
    come: Future[Any] = Future()

    def run() -> None:
        try:
            come.set_result(function())
        except Exception as error:  # noqa: BLE001 - the test's to look at
            come.set_exception(error)

    thread.post(lambda: Fiber(thread, run).begin())
    return come.result(SOON_S)
