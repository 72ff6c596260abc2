"""Group commit: many steps' writes in one transaction, without a lone step waiting for company.

One thread per process takes whatever has queued up since its last commit and writes it in one
transaction. While a commit is under way the next batch gathers, so the batch grows with the load
by itself. What a batch holds is applied in the order of :attr:`Operation.order`, each kind at
once, so that a statement serves many steps. A write that nothing is queued before, of a caller who
holds up nobody, is made where it is asked for.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

from sqlalchemy import Engine
from sqlalchemy.engine import Connection
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
)

from app.concurrency.fibers import Gathered, alone, unbroken
from app.concurrency.future import Future
from app.journal.schema import locks
from app.journal.schema.engine import relaxed
from app.journal.schema.transactions import tried
from app.journal.writing.connection import Held
from app.journal.writing.operation import Operation
from app.journal.writing.prepared import (
    CLAIM_ONE,
    EXPAND,
    FINISH_CALL,
    FINISH_MEMBERS,
    FINISH_ONE,
    SETTLE,
    START_CALL,
    TAKE,
    Shot,
)
from celery_agents.errors import JournalUnavailableError
from celery_agents.noted import note, noting

log = logging.getLogger(__name__)
R = TypeVar("R")

#: What nobody waits for goes along with a commit of so many others, or after so long; not with a
#: lone one, which somebody waits for.
COMPANY = 4
LAZY_S = 0.25
#: What a worker's first steps are written by: known before it says that it is ready.
_FIRST_RELAXED = (CLAIM_ONE, TAKE, SETTLE)
_FIRST_FINAL = (START_CALL, FINISH_CALL, FINISH_ONE, EXPAND, FINISH_MEMBERS)
#: The order of claims: what comes later refers to rows that those may have made.
_BEFORE_CALLS = 30


class Writer:
    """The process's only writer to the journal."""

    def __init__(self, engine: Engine, *, batch_max: int) -> None:
        self._final = Held(engine)
        self._relaxed = Held(relaxed(engine))
        self._batch_max = batch_max
        #: Writes that the database did not take, for it is full or away.
        self.refusals = 0
        self._queue: queue.SimpleQueue[Operation[Any] | None] = queue.SimpleQueue()
        self._gathered: Gathered[Operation[Any]] = Gathered(self._put)
        self._pending = 0  # writes that are queued, or under way in the thread
        self._committing = threading.Lock()
        self._closed = False
        self._closing = threading.Lock()  # nothing is queued behind the end
        self._thread = threading.Thread(target=self._work, name="journal-writer", daemon=True)
        self._thread.start()

    def open(self) -> None:
        """Open the connections before somebody waits for them, if they can be opened now."""
        with self._committing, noting(log, "journal_open", "The first step has to wait for it"):
            self._relaxed.open(_FIRST_RELAXED)
            self._final.open(_FIRST_FINAL)

    def submit(self, operation: Operation[R]) -> Future[R]:
        """Queue a write. The future resolves after its commit, or with JournalUnavailableError."""
        if operation.lazy or not alone() or not self._write_alone(operation):
            self._gathered.add(operation)
        return operation.future

    def submit_all(self, operations: list[Operation[R]]) -> list[Future[R]]:
        """Queue writes that go together."""
        self._put([*operations])
        return [operation.future for operation in operations]

    def _write_alone(self, operation: Operation[Any]) -> bool:
        """Write it here and now, if nothing is queued that has to come before it."""
        with unbroken():
            if any(not o.lazy for o in self._gathered.waiting):  # asked for in this turn, too
                return False
            with self._closing:
                if self._closed or self._pending or not self._committing.acquire(blocking=False):
                    return False
            try:
                self._commit([operation])
            finally:
                self._committing.release()
        return True

    def _put(self, operations: list[Operation[Any]]) -> None:
        with self._closing:
            if not self._closed:
                self._pending += sum(not o.lazy for o in operations)
                for operation in operations:
                    self._queue.put(operation)
                return
        closed = JournalUnavailableError("The journal is closed: this process stops.")
        for operation in operations:
            operation.future.set_exception(closed)

    def close(self) -> None:
        """Write what is queued, then stop. What is submitted later is refused."""
        with self._closing:
            self._closed = True
            self._queue.put(None)
        self._thread.join(timeout=30)
        if not self._thread.is_alive():
            with self._committing:
                self._final.close()
                self._relaxed.close()

    def _work(self) -> None:
        waiting: list[Operation[Any]] = []  # for others to go along with
        due = math.inf
        last = False
        while not last:
            left_s = max(due - time.monotonic(), 0.0) if waiting else None
            batch, last = self._gather(left_s)
            waiting += [o for o in batch if o.lazy]
            batch = [o for o in batch if not o.lazy]
            if waiting:
                due = min(due, time.monotonic() + LAZY_S)
            if last or self._company(batch) >= COMPANY or time.monotonic() >= due:
                batch, waiting, due = batch + waiting, [], math.inf
            with self._committing:
                self._commit(batch)
            with self._closing:
                self._pending -= sum(not o.lazy for o in batch)

    def _company(self, batch: list[Operation[Any]]) -> int:
        """Count the writes of a batch with which lazy ones share a commit; see ``_commit``."""
        return sum(self._final.whole or not o.final for o in batch)

    def _gather(self, patience_s: float | None) -> tuple[list[Operation[Any]], bool]:
        """Take what has queued up, at least one if it comes in time; tell if that was the end."""
        batch: list[Operation[Any]] = []
        while len(batch) < self._batch_max:
            try:
                operation = self._queue.get(block=not batch, timeout=None if batch else patience_s)
            except queue.Empty:
                break
            if operation is None:
                return batch, True
            batch.append(operation)
        return batch, False

    def _commit(self, batch: list[Operation[Any]]) -> None:
        """Write a batch: by shots what those can do, the rest statement by statement."""
        parts = [batch]
        if not self._final.whole:
            # What settles holds steps: it is over before ends wait for their joins (locks.py).
            parts = [[o for o in batch if not o.final], [o for o in batch if o.final]]
        for part in parts:
            for volley in self._load(part):
                self._write([o for group, _ in volley for o in group], partial(_shoot, volley))
        left = [o for o in batch if not o.future.done()]
        if self._final.whole:  # one writer at a time: no order of locks
            self._write(left, _transact)
            return
        together = [o for o in left if not o.alone]
        last = [o for o in together if type(o).order > _BEFORE_CALLS]
        self._write([o for o in together if type(o).order <= _BEFORE_CALLS], _transact)
        for operations in _apart([o for o in left if o.alone]):
            self._write(operations, _transact)
        self._write(last, _transact)

    def _load(self, part: list[Operation[Any]]) -> list[_Volley]:
        try:
            return _volleys(part, self._final)
        except Exception as error:  # noqa: BLE001 - its transaction tells its callers
            note(log, "journal_shot", "A batch is written the long way", error=error)
            return []

    def _write(self, batch: list[Operation[Any]], way: _Way) -> None:
        """Write a batch one way; resolve the futures of what was written, or all with the error."""
        if not batch:
            return
        held = self._final if any(o.final for o in batch) else self._relaxed
        try:
            results = tried(partial(_noted, way, held, batch))
        except JournalUnavailableError as error:
            self.refusals += 1
            for operation in batch:
                operation.future.set_exception(error)
        except Exception as error:  # noqa: BLE001 - it is noted
            if len(batch) == 1:
                text = "The journal refused a %s"
                kind = type(batch[0]).__name__
                note(log, "journal_refusal", text, kind, error=error, trace=True)
                batch[0].future.set_exception(error)
            else:  # one bad write must not take the others with it
                for operation in batch:
                    self._commit([operation])
        else:
            for operation, result in results:
                operation.future.set_result(result)


_Results = list[tuple[Operation[Any], Any]]
#: Operations of one kind and variety with their shot, and others with theirs.
_Volley = list[tuple[list[Operation[Any]], Shot]]
_Way = Callable[[Held, list[Operation[Any]]], _Results]


def _noted(way: _Way, held: Held, batch: list[Operation[Any]]) -> _Results:
    """Write a batch; when that fails, mark its operations as written again."""
    try:
        return way(held, batch)
    except DBAPIError:
        for operation in batch:
            operation.again = True
        raise


def _transact(held: Held, batch: list[Operation[Any]]) -> _Results:
    return held.transaction(lambda c: _apply(c, batch))


def _shoot(volley: _Volley, held: Held, _: list[Operation[Any]]) -> _Results:
    """Write a volley by single statements; return results of what was written: all, some, none."""
    try:
        written = held.shoot([shot for _, shot in volley]) if held.shoots else None
    except IntegrityError:  # a row is not as the short way takes it to be
        written = None
    if written is None:
        return []
    return [
        (operation, shot.result(place, row))
        for group, shot in volley
        for place, operation in enumerate(group)
        if (row := written.get(shot.ids[place]) if shot.prepared.answers else ()) is not None
    ]


def _volleys(batch: list[Operation[Any]], held: Held) -> list[_Volley]:
    """Group a batch's shots into what can be sent at once; on PostgreSQL only the last may answer.

    What has no shot is left out; where one transaction is for all, nothing is shot then.
    """
    loaded: _Volley = []
    if held.whole and not all(o.has_lite for o in batch):
        return []
    for kind, operations in _by_kind(batch):
        for _, of_variety in groupby(sorted(operations, key=_variety), key=_variety):
            group = list(of_variety)
            if (shot := kind.shot(group)) is not None:
                loaded.append((group, shot))
            elif held.whole:
                return []
    if held.whole:
        return [loaded]
    volleys: list[_Volley] = [[pair for pair in loaded if not pair[1].prepared.answers]]
    for pair in loaded:
        if pair[1].prepared.answers:
            volleys[-1].append(pair)
            volleys.append([])
    return [volley for volley in volleys if volley]


def _variety(operation: Operation[Any]) -> int:
    return operation.variety


def _apart(operations: list[Operation[Any]]) -> Iterator[list[Operation[Any]]]:
    """Group writes that need transactions to themselves: each alone, but those that share one."""
    ordered = sorted(operations, key=lambda o: (type(o).order, o.shares))
    for _, group in groupby(ordered, key=lambda o: type(o) if o.shares else o):
        yield list(group)


def _by_kind(
    batch: list[Operation[Any]],
) -> Iterator[tuple[type[Operation[Any]], list[Operation[Any]]]]:
    ordered = sorted(batch, key=lambda o: (type(o).order, type(o).__name__))
    for kind, group in groupby(ordered, key=type):
        yield kind, list(group)


def _apply(connection: Connection, batch: list[Operation[Any]]) -> list[tuple[Operation[Any], Any]]:
    results: list[tuple[Operation[Any], Any]] = []
    if len({type(o) for o in batch if o.locks}) > 1:  # each kind locks its own, before any row
        locks.lock(connection, (lock for o in batch for lock in o.locks))
    for kind, operations in _by_kind(batch):
        results += zip(operations, kind.apply(connection, operations), strict=True)
    return results
