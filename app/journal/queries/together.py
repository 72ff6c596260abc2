"""Group reads: what many threads ask for at once is read by one of them, in one statement.

A read without company is made at once; while one is under way the next ones gather, as writes do in
a group commit. They have a connection that is kept: to take one, begin, read and end costs several
round trips each time. For steps that ask in one turn of the loop one thread reads together: they go
on in one turn, too, and what they write then is one batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from sqlalchemy import Engine
from sqlalchemy.engine import Connection

from app.concurrency.fibers import Gathered, alone, in_fiber, unbroken, wait
from app.concurrency.future import Future
from app.concurrency.loop import process_loop
from app.journal.schema.engine import reading
from app.journal.schema.transactions import tried
from app.journal.writing.connection import Held
from celery_agents.errors import JournalUnavailableError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

#: Keys of one statement at the most: what they have is held in memory at once.
TOGETHER_MAX = 64


class Together(Generic[K, V]):
    """Reads by key, of which those that come while another one runs are made together."""

    def __init__(
        self, engine: Engine, read: Callable[[Connection, Sequence[K]], Mapping[K, V]]
    ) -> None:
        self._held = Held(reading(engine))
        self._read = read
        self._asked: list[tuple[K, Future[V]]] = []
        self._turn = threading.Lock()
        self._gathered: Gathered[tuple[K, Future[V]]] = Gathered(self._hand_over)

    def __call__(self, key: K) -> V:
        """Return what is read under ``key``, from a statement that began after the call.

        Raises:
            JournalUnavailableError: the database did not answer.
        """
        mine: Future[V] = Future()
        if not in_fiber():
            self._serve([(key, mine)])
        elif alone():
            with unbroken():
                self._serve([(key, mine)])
        else:
            self._gathered.add((key, mine))
        return wait(mine)

    def close(self) -> None:
        """Close the connection, after the read that is under way."""
        with self._turn:
            self._held.close()

    def _hand_over(self, asked: list[tuple[K, Future[V]]]) -> None:
        process_loop().blocking.submit(self._serve, asked)

    def _serve(self, asked: list[tuple[K, Future[V]]]) -> None:
        self._asked += asked
        with self._turn:  # whoever had it before may have read ours, too
            while not all(mine.done() for _, mine in asked):
                batch = self._asked[:TOGETHER_MAX]
                del self._asked[: len(batch)]
                self._answer(batch)

    def _answer(self, batch: list[tuple[K, Future[V]]]) -> None:
        try:
            keys = [*dict.fromkeys(key for key, _ in batch)]
            found = tried(lambda: self._held.statement(lambda c: self._read(c, keys)))
        except Exception as error:  # noqa: BLE001 - who asked is told
            if len(batch) > 1 and not isinstance(error, JournalUnavailableError):
                for one in batch:  # one bad row must not take the others with it
                    self._answer([one])
                return
            for _, future in batch:
                future.set_exception(error)
        else:
            for key, future in batch:
                future.set_result(found[key])
