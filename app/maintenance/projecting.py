"""Giving projections their entries: a thread in each worker that has some."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from agents.catalog.folds import Projected, Reduced
from app.execution.runtime import Runtime
from app.journal.following.projections import Projecting
from app.journal.following.snapshots import Reducing
from app.journal.following.subscribed import Subscribed, SubscriptionKey
from celery_agents.contracts.flows.entries import StreamEntry
from celery_agents.contracts.flows.subscriptions import StreamSet
from celery_agents.fold import CONNECTION
from celery_agents.noted import note, noting

log = logging.getLogger(__name__)

#: Pages that a projection is given before the next one has its turn.
PAGES_MAX = 20


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

    def start(self) -> None:
        """Begin, in a thread; where there are no projections there is none."""
        if self._how:
            self._thread.start()

    def stop(self) -> None:
        """Stop; wait up to ten seconds for a page under way."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                self.project()
            except Exception as error:  # noqa: BLE001 - it is noted
                text = "Projections wait; they go on at the next turn"
                note(log, "projections", text, error=error, trace=True)
            self._stopped.wait(self._every_s)

    def project(self) -> int:
        """Give each what was written; returns how many entries were given."""
        for key, wanted in [*self._wanted.items()]:
            with noting(log, "projection", f"The projection {key.name} is not known yet"):
                self._store.register(key, wanted)
                del self._wanted[key]
        given = 0
        for key in self._store.due("projection", 1_000):
            if (how := self._how.get(key)) is not None and key not in self._wanted:
                with noting(log, "projection", f"The projection {key.name} waits"):
                    given += self._pages(key, how)
        return given

    def _pages(self, key: SubscriptionKey, how: Projecting) -> int:
        given = 0
        for _ in range(PAGES_MAX):
            found = self._store.project(key, how)
            given += found.given
            if found.error is not None:
                told = "The projection %s failed at an entry"
                note(log, "projection", told, key.name, error=found.error)
            if not found.more or self._stopped.is_set():
                break
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
