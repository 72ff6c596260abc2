"""Watching runs: what they tell while they work, and their end.

One thread of a client reads for all who watch, and ends when nobody does. Streams are hints: the
end is told once the result is there, and where something was lost the journal's state is told.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from celery_agents.client.events import FIRST, Events, Watched
from celery_agents.client.reading import Channel, StreamReader
from celery_agents.client.waiting import AGAIN_S, LOOK, Meta, Waiting
from celery_agents.contracts.events import END, RunEvent
from celery_agents.errors import AgentsError, InvalidPayloadError
from celery_agents.noted import noting
from celery_agents.sealing import Seals

if TYPE_CHECKING:
    from celery_agents.address import RedisAddress

log = logging.getLogger(__name__)

_ID = re.compile(r"\d{1,20}-\d{1,20}")
#: Seconds between two looks for results; those soon after a run's end was told.
_LOOK_S, _LOOK_SOON_S = 0.5, 0.02
#: Seconds that a worker may take to read the journal. The end waits for it.
_SNAPSHOT_S = 5.0
#: Seconds between two tries while Redis is away, and for which the thread stays without a watcher.
_AWAY_S, _STAYS_S = 0.25, 2.0


class Watching:
    """Reads for all watchers of a client.

    ``status`` reads a run's tree from the journal, by a worker.
    """

    def __init__(
        self,
        address: RedisAddress,
        waiting: Waiting,
        results: Callable[[Sequence[Watched]], dict[str, Meta]],
        status: Callable[..., dict[str, Any] | None],
        seals: Seals | None = None,
    ) -> None:
        self._seals = seals
        self._address = address
        self._waiting = waiting
        self._results = results
        self._status = status
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._new: list[Events[Any]] = []
        self._gone: list[Events[Any]] = []
        redis = self._address.client(socket_timeout=5.0, socket_connect_timeout=2.0)
        self._reading = StreamReader(redis, self._lack, self._seals)
        self._thread: threading.Thread | None = None

    def events(self, run: Watched, after: str | None, timeout: float | None) -> Events[Any]:
        """Return the events of a run after the one of that id.

        Raises:
            InvalidPayloadError: ``after`` is the id of no event.
        """
        if after is not None and after != END and not _ID.fullmatch(after):
            raise InvalidPayloadError("after: it is the id of an event, as event.id has it.")
        return Events(self, run, after or FIRST, timeout)

    def add(self, watcher: Events[Any]) -> None:
        """Begin to read for a watcher."""
        if self._pid != os.getpid():  # a fork: the thread is the parent's
            self._forget()
        with self._changed:
            self._new.append(watcher)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="agents-events", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def remove(self, watcher: Events[Any]) -> None:
        """Read no more for it."""
        with self._changed:
            self._gone.append(watcher)

    def _work(self) -> None:
        reading = self._reading
        try:
            while self._turn_begins():
                try:
                    while self._new:
                        reading.join(self._new[0])
                        with self._changed:
                            del self._new[:1]
                    reading.read()
                    self._look()
                except (RedisError, OSError) as error:
                    if not self._endure(error):
                        return
        finally:
            reading.close()

    def _endure(self, error: BaseException) -> bool:
        """Wait for a Redis that is away; tell of one that can never be reached."""
        try:
            self._address.raise_if_refused(error)
        except AgentsError as refused:
            with self._changed:
                self._thread = None
                watchers = [
                    w for c in self._reading.channels.values() for w in c.watchers
                ] + self._new
                self._new = []
                self._reading.channels.clear()
            for watcher in watchers:
                watcher.put(refused)
            return False
        time.sleep(_AWAY_S)
        return True

    def _turn_begins(self) -> bool:
        """Take over who came and who went; False when nobody watches any more."""
        with self._changed:
            for watcher in self._gone:
                self._drop(watcher)
            self._gone = []
            if not self._reading.channels and not self._new:
                self._changed.wait(_STAYS_S)
            if self._reading.channels or self._new:
                return True
            self._thread = None
            return False

    def _drop(self, watcher: Events[Any]) -> None:
        if watcher in self._new:
            self._new.remove(watcher)
        channel = self._reading.channels.get(watcher.run.id)
        if channel is not None and watcher in channel.watchers:
            channel.watchers.remove(watcher)
            if not channel.watchers:
                del self._reading.channels[watcher.run.id]

    def _look(self) -> None:
        """Look for the ends of runs; wake those of which nothing is heard."""
        now = time.monotonic()
        channels = [*self._reading.channels.values()]
        for channel in channels:
            if not channel.watchers:  # all are behind, and come again
                self._reading.channels.pop(channel.run.id, None)
        due = [c for c in channels if c.watchers and c.look_at <= now]
        if due:
            self._reading.find_missing(due)
        for first in range(0, len(due), LOOK):
            some = due[first : first + LOOK]
            found = self._results([c.run for c in some])
            for channel in some:
                channel.look_at = now + (_LOOK_SOON_S if now < channel.soon_until else _LOOK_S)
                if channel.asking:  # the end is the last
                    continue
                if (meta := found.get(channel.run.id)) is not None:
                    self._end(channel, meta)
        if silent := [c for c in self._reading.channels.values() if c.again_at <= now]:
            self._waiting.wake([c.run for c in silent])
            for channel in silent:
                channel.pause = min(2 * channel.pause, AGAIN_S[1])
                channel.again_at = now + channel.pause

    def _end(self, channel: Channel, meta: Meta) -> None:
        """Tell what is left in the stream, then the end."""
        self._reading.rest(channel)
        self._reading.channels.pop(channel.run.id, None)
        for watcher in channel.watchers:
            try:
                watcher.run.take(meta)
                outcome = watcher.run.outcome_in(meta)
                done = meta["status"] == "SUCCESS"
                value = watcher.run.read(meta["result"]) if done else None
            except AgentsError as error:
                watcher.put(error)
                continue
            run_id = watcher.run.id
            watcher.put(RunEvent(id=END, type="end", step_id=run_id, outcome=outcome, value=value))

    def _lack(self, channel: Channel, watcher: Events[Any]) -> None:
        """Tell a watcher that lacks something what the journal says, once a worker has read it."""
        if watcher not in channel.lacking:
            channel.lacking.append(watcher)
        if not channel.asking:
            channel.asking = True
            threading.Thread(target=self._ask, args=(channel,), daemon=True).start()

    def _ask(self, channel: Channel) -> None:
        text = "No worker told how a run is of which events are missing"
        while channel.lacking:
            tree: dict[str, Any] = {}
            with noting(log, "snapshot", text, AgentsError, RedisError, OSError):
                tree = self._status(channel.run.id, timeout=_SNAPSHOT_S) or {}
            lacking, channel.lacking = channel.lacking, []
            data = {k: tree[k] for k in ("state", "steps") if k in tree}
            for watcher in lacking:
                event_id, run_id = watcher.heard_of, channel.run.id
                watcher.put(RunEvent(id=event_id, type="snapshot", step_id=run_id, data=data))
        channel.asking = False  # only now may the end be told
