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
from app.maintenance.starting import row_of_run
from celery_agents.errors import AgentsError, InvalidPayloadError, JournalUnavailableError
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: Subscriptions of a round, each with one page, and rounds of a look.
SUBSCRIPTIONS_MAX, ROUNDS_MAX = 100, 25
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
        self._starting = Starting(make, settings.wake_grace_s, settings.dead_letters_max)

    def serve(self) -> int:
        """Start the runs of what was written; returns how many were started."""
        started = 0
        for _ in range(ROUNDS_MAX):
            found = [self._one(key) for key in self._store.due("runs", SUBSCRIPTIONS_MAX)]
            started += sum(len(one.wakes) for one in found)
            if not any(one.more for one in found):
                break
        return started

    def trim(self) -> int:
        """Delete entries of streams that are to go, once a minute; returns how many."""
        if time.monotonic() < self._trims_at:
            return 0
        self._trims_at = time.monotonic() + TRIM_EVERY_S
        streams = self._journal.streams
        if not streams.kept() or not self._journal.take_turn(TRIM, TRIM_EVERY_S):
            return 0
        return streams.trim()

    def _one(self, key: SubscriptionKey) -> RunsStarted:
        try:
            found = self._store.serve(key, self._starting)
        except JournalUnavailableError:
            raise
        except AgentsError as error:  # a newer version has said what this one cannot read
            found = RunsStarted(error=error)
        except (ValueError, TypeError, RecursionError) as error:  # others are served all the same
            found = RunsStarted(error=InvalidPayloadError(f"It cannot be served: {error!r}"))
        publish(self._app, found.wakes)
        if found.error is not None:
            told = "An entry starts no run by the subscription %s"
            note(log, "subscription", told, key.name, error=found.error)
        return found

    def start_again(self, key: SubscriptionKey, pos: int, letter_id: str) -> list[Wake]:
        """Start the run of an entry that was passed over; see :meth:`SubscriptionStore`."""
        return self._store.start_again(key, pos, self._starting, letter_id)
