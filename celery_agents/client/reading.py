"""Reading the streams of all runs that are watched: one command for all of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from celery_agents import names
from celery_agents.client.events import FIRST, Events, Watched
from celery_agents.client.waiting import AGAIN_S
from celery_agents.contracts.events import END
from celery_agents.sealing import EVENT, MARK, Seals, shown

if TYPE_CHECKING:
    from redis import Redis

#: Milliseconds that a read waits: so long may a new watcher have to wait for the reader.
_BLOCK_MS = 50
#: Seconds between two reads, in which events gather; entries of a run that one takes.
_GATHER_S, _MOST = 0.01, 500
#: Seconds for which a result is looked for often, after its run's end was told.
_SOON_S = 2.0
_FINAL = {"succeeded", "failed", "skipped", "cancelled", "dead"}


class Channel:
    """A run that is watched, and where its reading stands."""

    def __init__(self, run: Watched, position: str) -> None:
        self.run = run
        self.key = names.STREAM + run.id
        self.position = position
        self.watchers: list[Events[Any]] = []
        self.look_at = self.soon_until = 0.0
        self.pause = AGAIN_S[0]
        self.again_at = time.monotonic() + self.pause
        self.asking = False  # the journal, for a snapshot
        self.lacking: list[Events[Any]] = []

    def ends(self) -> None:
        """Look for the result, which is stored right after the end was told."""
        self.look_at, self.soon_until = 0.0, time.monotonic() + _SOON_S

    def heard(self) -> None:
        """Wake the run later: it is under way."""
        self.pause = AGAIN_S[0]
        self.again_at = time.monotonic() + self.pause


class StreamReader:
    """The streams of runs that are watched, on one connection.

    ``lack`` is told of a watcher who lacks something.
    """

    def __init__(
        self,
        redis: Redis,
        lack: Callable[[Channel, Events[Any]], None],
        seals: Seals | None = None,
    ) -> None:
        self._redis = redis
        self._seals = seals
        self._lack = lack
        self.channels: dict[str, Channel] = {}

    def join(self, watcher: Events[Any]) -> None:
        """Bring a new watcher to where the others of its run are."""
        run, after, paces = watcher.run, watcher.after, watcher.fell_behind
        key = names.STREAM + run.id
        channel = self.channels.get(run.id)
        if watcher.recalls:
            self._recall(watcher, key)
        # What was the last one is still there, or what came after it may be gone too.
        known = after in (FIRST, END) or bool(self._redis.xrange(key, after, after, count=1))
        if channel is None or END in (channel.position, after):
            channel = channel or self.channels.setdefault(run.id, Channel(run, after))
            if channel.position == END:
                channel.position = after
            if not known and channel.position == after:
                channel.position = FIRST  # of a new stream, if there is one
        elif (position := channel.position) != FIRST:
            # Once it has fallen behind it comes again from where it is, and is told no more here.
            while watcher.fell_behind == paces and (
                entries := self._range(channel, after, position)
            ):
                self._tell(channel, entries, [watcher])
                after = entries[-1][0].decode()
        if channel.run.message is None:
            channel.run = run
        if watcher.fell_behind == paces and watcher not in channel.watchers:
            channel.watchers.append(watcher)  # else it comes again
        channel.look_at = 0.0  # it may have ended long ago
        if not known:
            self._lack(channel, watcher)

    def _recall(self, watcher: Events[Any], key: str) -> None:
        """Have it hear what was told up to where it begins: answers so far grow from there."""
        at = "-"
        while True:
            entries: Any = self._redis.xrange(key, at, watcher.after, count=_MOST)
            if not entries:
                break
            for _, fields in entries:
                watcher.recall(self._event(fields))
            at = f"({entries[-1][0].decode()}"
        watcher.recalls = False

    def read(self) -> None:
        """Hand over what came since the last read, or comes soon."""
        reading = {c.key: c.position for c in self.channels.values() if c.position != END}
        if not reading:
            time.sleep(_BLOCK_MS / 1000)
            return
        keys: dict[Any, Any] = dict(reading)
        found: Any = self._redis.xread(keys, count=_MOST, block=_BLOCK_MS)
        if not found:
            return
        pairs = found.items() if isinstance(found, dict) else found
        for key, entries in pairs:
            channel = self.channels[key.decode().removeprefix(names.STREAM)]
            self._tell(channel, entries, [*channel.watchers])
            channel.position = entries[-1][0].decode()
        time.sleep(_GATHER_S)

    def close(self) -> None:
        """Close the connection; it is opened again where somebody watches later."""
        self._redis.close()

    def find_missing(self, channels: Sequence[Channel]) -> None:
        """Notice streams of which something was read and which are gone."""
        read = [c for c in channels if c.position not in (FIRST, END)]
        if not read or self._redis.exists(*(c.key for c in read)) == len(read):
            return
        for channel in read:
            if not self._redis.exists(channel.key):
                channel.position = FIRST
                for watcher in channel.watchers:
                    self._lack(channel, watcher)

    def rest(self, channel: Channel) -> None:
        """Hand over what is left in the stream of a run that has ended."""
        while channel.position != END and (entries := self._range(channel)):
            self._tell(channel, entries, [*channel.watchers])
            channel.position = entries[-1][0].decode()

    def _range(self, channel: Channel, after: str | None = None, until: str = "+") -> Any:
        after = channel.position if after is None else after
        return self._redis.xrange(channel.key, f"({after}", until, count=_MOST)

    def _event(self, fields: Any) -> dict[str, Any]:
        """An event as it was told; of one that cannot be read a text says why."""
        told: dict[str, Any] = json.loads(fields[names.STREAM_FIELD.encode()])
        if MARK not in told:
            return told
        sealed = {MARK: told.pop(MARK)}
        found = shown(self._seals, sealed, told["step_id"], EVENT)
        return told | (found if isinstance(found, dict) else {"text": found})

    def _tell(self, channel: Channel, entries: Any, watchers: list[Events[Any]]) -> None:
        # Who falls behind is told no more of these, also if it catches up meanwhile: it comes again
        # from where it is.
        paces = [(watcher, watcher.fell_behind) for watcher in watchers if not watcher.behind]
        for raw_id, fields in entries:
            told = self._event(fields)
            event_id = raw_id.decode()
            for watcher, pace in paces:
                if watcher.fell_behind == pace and not watcher.take(event_id, told):
                    self._lack(channel, watcher)
            if told["step_id"] == channel.run.id and told.get("data", {}).get("state") in _FINAL:
                channel.ends()
        channel.heard()
        along = [watcher for watcher, pace in paces if watcher.fell_behind == pace]
        channel.watchers = [w for w in channel.watchers if w not in watchers or w in along]
