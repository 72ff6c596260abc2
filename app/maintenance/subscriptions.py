"""Starting subscriptions: each entry starts its run, by whichever worker looks.

Recovery's thread looks, in the worker that has its turn, as it does for schedules.
"""

from __future__ import annotations

import logging
import time
from functools import partial

from app.execution.publish import publish
from app.execution.runtime import Runtime
from app.journal.following.runs import RunsStarted, Starting
from app.journal.following.subscribed import SubscriptionKey
from app.journal.schema.rows import Wake
from app.maintenance.room import Room
from app.maintenance.starting import row_of_run
from celery_agents.errors import AgentsError, InvalidPayloadError, JournalUnavailableError
from celery_agents.noted import note, noting

log = logging.getLogger(__name__)

#: Subscriptions of a round, each with one page, and rounds of a look.
SUBSCRIPTIONS_MAX, ROUNDS_MAX = 100, 25
#: Batches of messages that a queue may hold, of everybody's, for more runs to be started.
BACKLOG = 4
#: The turns in which streams are trimmed.
TRIM, TRIM_EVERY_S = "agents.trim", 60.0


class EventBus:
    """Starts the runs of subscriptions."""

    def __init__(self, runtime: Runtime) -> None:
        self._app = runtime.app
        self._journal = runtime.journal
        self._trims_at = 0.0
        self._store = runtime.journal.streams.subscriptions
        make = partial(row_of_run, runtime, "subscription")
        settings = runtime.settings
        self._room = Room(runtime, BACKLOG * settings.wake_batch)
        about = (settings.wake_grace_s, settings.dead_letters_max, self._room.of)
        self._starting = Starting(make, *about)
        self._trimming: list[tuple[str, str]] = []

    def serve(self) -> int:
        """Start the runs of what was written; returns how many were started.

        No more than their queues have room for: what waits in its stream is safe there, and holds
        up nobody else's work.
        """
        started, full = 0, set[str]()
        for number in range(ROUNDS_MAX):
            keys = self._store.due("runs", SUBSCRIPTIONS_MAX, full)
            if keys and not number:
                self._room.look()
            found = [self._one(key) for key in keys]
            started += sum(len(one.wakes) for one in found)
            full |= {one.full for one in found if one.full is not None}
            if not any(one.more or one.full is not None for one in found):
                break
        return started

    def trim(self) -> int:
        """Delete entries of streams that are to go; returns how many.

        Once a minute it begins with all rules, in turns; with those that have more to be trimmed it
        goes on at each look.
        """
        streams = self._journal.streams
        if time.monotonic() >= self._trims_at:
            self._trims_at = time.monotonic() + TRIM_EVERY_S
            rules = [(rule["tenant"], rule["of"]) for rule in streams.kept()]
            if rules and self._journal.take_turn(TRIM, TRIM_EVERY_S):
                self._trimming = rules
        gone, self._trimming, rules = 0, [], self._trimming
        for rule in rules:
            with noting(log, "trim", f"The events of {rule[1]} are not trimmed"):
                count, more = streams.trim(*rule)
                gone += count
                self._trimming += [rule] if more else []
        return gone

    def _one(self, key: SubscriptionKey) -> RunsStarted:
        try:
            found = self._store.serve(key, self._starting)
        except JournalUnavailableError:
            raise
        except AgentsError as error:  # a newer version has said what this one cannot read
            found = RunsStarted(error=error)
            self._store.put_off(key, error.message)
        except Exception as error:  # noqa: BLE001 - it is told, and others are served all the same
            found = RunsStarted(error=InvalidPayloadError(f"It cannot be served: {error!r}"))
            self._store.put_off(key, str(found.error))
        self._room.take(found.wakes)
        publish(self._app, found.wakes)
        if found.error is not None:
            told = "An entry starts no run by the subscription %s"
            note(log, "subscription", told, key.name, error=found.error)
        return found

    def start_again(self, key: SubscriptionKey, pos: int, letter_id: str) -> list[Wake]:
        """Start the run of an entry that was passed over; see :meth:`SubscriptionStore`."""
        return self._store.start_again(key, pos, self._starting, letter_id)
