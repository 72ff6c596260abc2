"""Batching: one thread performs together whatever callers have asked for meanwhile.

As in the journal's writer, a batch grows with the load by itself, and who is alone waits for
nobody: it does it itself.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

from app.concurrency.fibers import Gathered, alone, unbroken
from app.concurrency.future import Future

log = logging.getLogger(__name__)
T = TypeVar("T")


class Batches(Generic[T]):
    """Items, handed to ``perform`` as many at a time as there are.

    Args:
        name: of the thread.
        perform: gets 1 to ``most`` items and gives an error or what is replied for each; what it
            raises is every item's error.
    """

    def __init__(
        self, name: str, perform: Callable[[Sequence[T]], Sequence[Any]], most: int
    ) -> None:
        self._perform = perform
        self._most = most
        self._queue: queue.SimpleQueue[tuple[T, Future[Any]] | None] = queue.SimpleQueue()
        self._gathered: Gathered[tuple[T, Future[Any]]] = Gathered(self._put)
        self._performing = threading.Lock()
        self._closed = False
        self._closing = threading.Lock()  # nothing is queued behind the end
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, item: T) -> Future[Any]:
        """Queue an item; the future gets its result, or the reason why there is none."""
        future: Future[Any] = Future()
        if self._closed or not alone() or not self._do_alone((item, future)):
            self._gathered.add((item, future))
        return future

    def _do_alone(self, asked: tuple[T, Future[Any]]) -> bool:
        """Do it here and now, if nothing is queued that has to come before it."""
        with unbroken():
            if self._gathered.waiting or not self._queue.empty():
                return False
            if not self._performing.acquire(blocking=False):
                return False
            try:
                self._do([asked])
            finally:
                self._performing.release()
        return True

    def _put(self, items: list[tuple[T, Future[Any]]]) -> None:
        with self._closing:
            if not self._closed:
                for item in items:
                    self._queue.put(item)
                return
        for _, future in items:
            future.set_exception(RuntimeError(f"{self._thread.name} is closed"))

    def close(self) -> None:
        """Do what is queued, then stop."""
        with self._closing:
            self._closed = True
            self._queue.put(None)
        self._thread.join(timeout=10)

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            self._gather(batch)
            with self._performing:
                self._do(batch)

    def _gather(self, batch: list[tuple[T, Future[Any]]]) -> None:
        """Add to a batch what is queued.

        The thread and who is alone may do so at once, so neither may wait for what the other takes.
        """
        with suppress(queue.Empty):
            while len(batch) < self._most:
                item = self._queue.get_nowait()
                if item is None:
                    self._queue.put(None)  # it is for the thread, and behind it there is nothing
                    return
                batch.append(item)

    def _answers(self, batch: list[tuple[T, Future[Any]]]) -> Sequence[Any]:
        return self._perform([item for item, _ in batch])

    def _do(self, batch: list[tuple[T, Future[Any]]]) -> None:
        try:
            answers = self._answers(batch)
        except Exception as error:  # noqa: BLE001 - the callers' to handle
            answers = [error] * len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)


class GrowingBatches(Batches[T]):
    """Batches that take in what is queued until ``perform`` asks for it.

    It does once it has what all wait for in any case, such as a lock.

    Args:
        name: of the thread.
        perform: gets 1 to ``most`` items, and a function that gives more of them; replies for all.
        most: items of one batch.
    """

    def __init__(
        self,
        name: str,
        perform: Callable[[Sequence[T], Callable[[], Sequence[T]]], Sequence[Any]],
        most: int,
    ) -> None:
        self._grow = perform
        super().__init__(name, lambda _: (), most)

    def _answers(self, batch: list[tuple[T, Future[Any]]]) -> Sequence[Any]:
        def more() -> list[T]:
            known = len(batch)
            self._gather(batch)
            return [item for item, _ in batch[known:]]

        return self._grow([item for item, _ in batch], more)
