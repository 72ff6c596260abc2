"""Giving projections their entries: threads in each worker that has some."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from agents.catalog.folds import Projected, Reduced
from app.execution.runtime import Runtime
from app.journal.following.projections import Projecting
from app.journal.following.snapshots import Reducing
from app.journal.following.subscribed import Subscribed, SubscriptionKey
from celery_agents.contracts.flows.entries import StreamEntry
from celery_agents.contracts.flows.subscriptions import StreamSet
from celery_agents.errors import JournalUnavailableError
from celery_agents.fold import CONNECTION
from celery_agents.noted import note, noting

log = logging.getLogger(__name__)

#: Projections of one worker that write by the journal's connections, of which there are few, at
#: the same time. Where there are more, they take turns.
INSIDE_MAX = 4


class Projector:
    """The projections of one worker. Of each, one worker at a time is given a page."""

    def __init__(self, runtime: Runtime) -> None:
        self._store = runtime.journal.streams.subscriptions
        self._every_s = runtime.settings.recovery_interval_s
        most = runtime.settings.dead_letters_max
        found = runtime.agents.registry.folds.projections
        self._wanted = {SubscriptionKey(*key): _subscribed(one) for key, one in found.items()}
        self._how = {SubscriptionKey(*key): _projecting(one, most) for key, one in found.items()}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="agents-projector", daemon=True)
        self._under_way: dict[SubscriptionKey, threading.Thread] = {}
        self._inside = threading.BoundedSemaphore(INSIDE_MAX)
        self._others_wait = threading.Event()

    def start(self) -> None:
        """Begin, in a thread; where there are no projections there is none."""
        if self._how:
            self._thread.start()

    def stop(self) -> None:
        """Stop; wait up to ten seconds for pages under way."""
        self._stopped.set()
        until = time.monotonic() + 10
        for thread in (self._thread, *self._under_way.copy().values()):
            if thread.is_alive():
                thread.join(timeout=max(until - time.monotonic(), 0))

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                due = self._due()  # who was served last comes last
                self._others_wait.clear()
                for key in due:
                    self._begin(key)
            except Exception as error:  # noqa: BLE001 - it is noted
                text = "Projections wait; they go on at the next turn"
                note(log, "projections", text, error=error, trace=True)
            self._stopped.wait(self._every_s)

    def _begin(self, key: SubscriptionKey) -> None:
        """Give one its entries in a thread of its own: it may block, and holds up no other one."""
        under_way = self._under_way.get(key)
        if under_way is not None and under_way.is_alive():
            return
        name = f"agents-projection-{key.name}"
        thread = threading.Thread(target=self._pages, args=(key,), name=name, daemon=True)
        self._under_way[key] = thread
        thread.start()

    def project(self) -> int:
        """Give each what was written, one after the other; returns how many entries were given."""
        return sum(self._pages(key) for key in self._due())

    def _due(self) -> list[SubscriptionKey]:
        """The projections of this worker that have something to be given."""
        for key, wanted in [*self._wanted.items()]:
            with noting(log, "projection", f"The projection {key.name} is not known yet"):
                self._store.register(key, wanted)
                del self._wanted[key]
        due = self._store.due("projection", 1_000)
        return [key for key in due if key in self._how and key not in self._wanted]

    def _pages(self, key: SubscriptionKey) -> int:
        how = self._how[key]
        if not how.inside:
            return self._given(key, how)
        if not self._inside.acquire(blocking=False):
            self._others_wait.set()
            return 0  # as many as may be have a connection of the journal's: at the next look
        try:
            return self._given(key, how)
        finally:
            self._inside.release()

    def _given(self, key: SubscriptionKey, how: Projecting) -> int:
        given = 0
        try:
            while True:
                found = self._store.project(key, how)
                given += found.given
                if found.error is not None:
                    told = "The projection %s failed at an entry"
                    note(log, "projection", told, key.name, error=found.error)
                if not found.more or self._stopped.is_set():
                    break
                if how.inside and self._others_wait.is_set():
                    break
        except JournalUnavailableError as error:
            note(log, "projection", "The projection %s waits", key.name, error=error)
        except Exception as error:  # noqa: BLE001 - as when it cannot be emptied
            note(log, "projection", "The projection %s waits", key.name, error=error)
            with noting(log, "projection", f"The projection {key.name} waits"):
                self._store.put_off(key, f"{type(error).__name__}: {error}")
        return given


def reducing(one: Reduced) -> Reducing:
    """A reducer as the journal folds by it."""

    def fold(state: Any, event: dict[str, Any]) -> Any:
        return one.function(state, StreamEntry.model_validate(event))

    return Reducing(one.mark.name, one.mark.version, one.mark.every, fold)


def _subscribed(one: Projected) -> Subscribed:
    mark = one.mark
    target = {"version": mark.version}
    return Subscribed(StreamSet.of(mark.of), mark.kind, mark.rule, "projection", target)


def _projecting(one: Projected, letters_max: int) -> Projecting:
    mark, function = one.mark, one.function

    def apply(event: dict[str, Any], connection: Any) -> None:
        _call(function, mark.inside, connection, StreamEntry.model_validate(event))

    def reset(connection: Any) -> None:
        if mark.reset is not None:
            _call(mark.reset, mark.inside, connection)

    return Projecting(mark.version, apply, reset, mark.inside, letters_max)


def _call(function: Callable[..., Any], inside: bool, connection: Any, *args: Any) -> None:
    function(*args, **({CONNECTION: connection} if inside else {}))
