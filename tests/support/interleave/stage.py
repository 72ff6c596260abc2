"""Threads that stop before each statement and each COMMIT, and are let go one at a time.

A thread that waits for another one's lock is told from one that is slow by asking the server.
"""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import zip_longest
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from app.journal.schema.engine import READ_ONLY
from app.journal.schema.models import Base

#: Seconds without news after which the server is asked who waits, and between two such questions.
_PATIENCE_S = 0.002
#: Seconds after which a schedule that does not end is given up.
_STUCK_S = 20.0
#: Steps that one makes in a row at the most while others may.
_FAIR = 60
#: Statements before which threads stop: those that look at rows. Settings and clocks are not.
_LOOKS = re.compile(rf"\b(EXECUTE|{'|'.join(Base.metadata.tables)})\b", re.IGNORECASE)
_DEADLOCK = "40P01"

#: Picks one of the actors that may go on, told who went last.
Chooser = Callable[[Sequence[int], int | None], int]


class StuckError(AssertionError):
    """The actors neither went on nor ended."""


class Loss(Enum):
    """When a connection is lost: with the answer of a commit, or with the commit."""

    AFTER = "~"
    BEFORE = "!"


@dataclass(slots=True)
class Trace:
    """How a schedule went: who was let go at each point, who else might have been, and before
    which statement they stood."""

    choices: list[int] = field(default_factory=list)
    enabled: list[tuple[int, ...]] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    deadlocks: int = 0
    errors: dict[int, BaseException] = field(default_factory=dict)

    def told(self) -> str:
        """The schedule for people, a line for each step."""
        steps = zip(self.choices, self.statements, strict=True)
        return "\n".join(f"    {actor}: {statement}" for actor, statement in steps)


@dataclass(slots=True)
class _Actor:
    number: int
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    statement: str | None = None  # before which it stands
    backend: int = 0  # of the connection that it used last
    held_up: bool = False  # it waits for a lock
    will_release: bool = False  # the step before which it stands may let go of locks
    releases: bool = False  # the step that it makes may
    over: bool = False
    error: BaseException | None = None
    loss: Loss | None = None  # of its connection, at its next commit


class Stage:
    """Runs works beside one another, each in a thread, as a chooser says.

    ``waiting`` tells which of some server processes wait for a lock.
    """

    def __init__(self, waiting: Callable[[list[int]], set[int]]) -> None:
        self._waiting = waiting
        self._here = threading.local()
        self._news: queue.SimpleQueue[_Actor] = queue.SimpleQueue()
        self._trace = Trace()
        self._open = False  # everybody goes on unasked

    def attach(self, engine: Engine) -> None:
        """Stop threads of this stage before what they send by this engine."""
        event.listen(engine, "before_cursor_execute", self._before_statement)
        event.listen(engine, "after_cursor_execute", self._after_statement)
        event.listen(engine, "commit", self._before_commit)
        event.listen(engine, "handle_error", self._after_error)

    def run(
        self,
        works: Sequence[Callable[[], Any]],
        choose: Chooser,
        losses: Sequence[Loss | None] = (),
    ) -> Trace:
        """Run them to their ends; ``losses`` are of their connections, at their first commits.

        Raises:
            StuckError: they did not come to it.
        """
        self._trace = Trace()
        self._open = False
        actors = [_Actor(n, loss=loss) for n, loss in zip_longest(range(len(works)), losses)]
        threads = [
            threading.Thread(target=self._act, args=(actor, work), daemon=True)
            for actor, work in zip(actors, works, strict=True)
        ]
        for thread in threads:
            thread.start()
        try:
            self._direct(actors, choose)
        finally:
            self._open = True
            for actor in actors:
                actor.go.release()
            for thread in threads:
                thread.join(_STUCK_S)
            while not self._news.empty():
                self._news.get_nowait()
        self._trace.errors = {a.number: a.error for a in actors if a.error is not None}
        return self._trace

    # -- in the threads

    def _act(self, actor: _Actor, work: Callable[[], Any]) -> None:
        self._here.actor = actor
        try:
            work()
        except Exception as error:  # noqa: BLE001 - for the invariants
            actor.error = error
        actor.over = True
        self._news.put(actor)

    def _stop(self, actor: _Actor, statement: str, *, releases: bool) -> None:
        if self._open:
            return
        actor.statement = statement
        actor.will_release = releases
        self._news.put(actor)
        actor.go.acquire()

    def _before_statement(
        self, connection: Any, _cursor: Any, statement: str, values: Any, *_: Any
    ) -> None:
        actor = getattr(self._here, "actor", None)
        if actor is None:
            return
        actor.backend = connection.connection.driver_connection.info.backend_pid
        if _LOOKS.search(statement) and not statement.startswith("PREPARE"):
            told = _short(statement, values)
            self._stop(actor, told, releases=_autocommits(connection))
            if _autocommits(connection):
                _lose(actor, Loss.BEFORE)

    def _after_statement(self, connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        actor = getattr(self._here, "actor", None)
        # A prepared statement by itself is a whole transaction.
        if actor is not None and _autocommits(connection) and "EXECUTE" in statement:
            _lose(actor, Loss.AFTER)

    def _before_commit(self, connection: Any) -> None:
        actor = getattr(self._here, "actor", None)
        reads = connection.get_execution_options().get(READ_ONLY)
        if actor is None or reads or _autocommits(connection):
            return
        self._stop(actor, "COMMIT", releases=True)
        _lose(actor, Loss.BEFORE)
        if actor.loss is Loss.AFTER:
            connection.connection.driver_connection.commit()
            _lose(actor, Loss.AFTER)

    def _after_error(self, context: Any) -> None:
        actor = getattr(self._here, "actor", None)
        if actor is not None:
            actor.releases = True
            self._trace.deadlocks += getattr(context.original_exception, "pgcode", "") == _DEADLOCK

    # -- in the director's thread

    def _direct(self, actors: Sequence[_Actor], choose: Chooser) -> None:
        running = set(range(len(actors)))
        last: int | None = None
        while True:
            self._settle(actors, running)
            enabled = tuple(a.number for a in actors if a.statement is not None)
            if not enabled:
                return
            recent = self._trace.choices[-_FAIR:]
            if len(recent) == _FAIR and set(recent) == {last}:  # it tries again and again
                enabled = tuple(n for n in enabled if n != last) or enabled
            last = choose(enabled, last)
            chosen = actors[last]
            self._trace.choices.append(last)
            self._trace.enabled.append(enabled)
            self._trace.statements.append(chosen.statement or "")
            chosen.releases = chosen.will_release
            chosen.statement = None
            running.add(last)
            chosen.go.release()

    def _settle(self, actors: Sequence[_Actor], running: set[int]) -> None:
        """Wait until each of those that run stands before a statement, is over, or is held up."""
        until = time.monotonic() + _STUCK_S
        while running:
            free = [n for n in running if not actors[n].held_up]
            try:
                arrived = self._news.get(timeout=_PATIENCE_S) if free else self._news.get_nowait()
            except queue.Empty:
                if self._all_wait(actors, running):
                    return
                if time.monotonic() > until:
                    raise StuckError(f"after {_STUCK_S:.0f} s:\n{self._trace.told()}") from None
                continue
            arrived.held_up = False
            running.discard(arrived.number)
            if arrived.releases or arrived.over:
                for n in running:
                    actors[n].held_up = False

    def _all_wait(self, actors: Sequence[_Actor], running: set[int]) -> bool:
        """Return whether those that run wait for locks of some who stand."""
        if any(not actors[n].held_up for n in running):
            waiting = self._waiting([actors[n].backend for n in running])
            for n in running:
                actors[n].held_up = actors[n].backend in waiting
        if not all(actors[n].held_up for n in running):
            return False
        if any(a.statement is not None for a in actors):
            return True
        for n in running:  # for each other's: the server ends that soon
            actors[n].held_up = False
        return False


def _lose(actor: _Actor, what: Loss) -> None:
    """Let its connection be lost, if that is how it is to be."""
    if actor.loss is what:
        actor.loss = None
        raise OperationalError("COMMIT", None, Exception("the connection was lost"))


def _autocommits(connection: Any) -> bool:
    return bool(connection.connection.driver_connection.autocommit)


def _short(statement: str, values: Any) -> str:
    """A statement in a few words."""
    if prepared := re.findall(r"EXECUTE (\w+)", statement):
        return " ".join(prepared)
    words = " ".join(statement.split())
    verb = words.split(" ", 1)[0]
    about = re.search(rf"\b({'|'.join(Base.metadata.tables)})\b", words)
    change = re.search(r" SET (\w+)=%\((\w+)\)s", words)
    lock = re.search(r"FOR (NO KEY )?UPDATE", words)
    told = [verb, about and about[1], lock and lock[0]]
    if change is not None and isinstance(values, dict):
        told.append(f"{change[1]}={values.get(change[2])}")
    return " ".join(str(word) for word in told if word)
