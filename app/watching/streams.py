"""Streams: what steps of watched runs tell while they work, in Redis, for as long as it is of use.

They are hints. The row is the truth: a Redis that is away, or was emptied, costs what was told
meanwhile, and no step, no result. A step of a run that nobody asked to watch writes nothing here.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterable
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from app.concurrency.future import Future
from app.journal.schema.rows import Claimed
from celery_agents import names
from celery_agents.contracts.base import JsonValue
from celery_agents.noted import note
from celery_agents.redaction.cleaning import clean
from celery_agents.redaction.streamed import StreamedText
from celery_agents.sealing import EVENT, Seals
from celery_agents.values import problem

log = logging.getLogger(__name__)

#: Seconds in which what steps tell gathers into one write.
FLUSH_S = 0.05
#: Events of a run that are kept, and seconds after its last one.
EVENTS_MAX, KEEP_S = 5_000, 3_600
#: Bytes of one event's data; one that is larger is left out.
DATA_BYTES = 16_384
#: Seconds in which nothing is tried after Redis did not answer: steps do not wait for it.
PAUSE_S = 1.0


class Streams:
    """Writes what all steps of a process tell, by one thread."""

    def __init__(self, redis: Redis, seals: Seals | None = None) -> None:
        self._redis = redis
        self.seals = seals
        self._changed = threading.Condition()
        self._pending: dict[Teller, None] = {}  # in the order in which they first told
        self._ends: list[Future[None]] = []
        self._quiet_until = 0.0
        threading.Thread(target=self._work, name="agents-streams", daemon=True).start()

    def teller(self, claim: Claimed) -> Teller:
        """Return what a claimed step tells by."""
        return Teller(self, claim)

    def put(self, teller: Teller, kind: str, data: Any, *, end: Future[None] | None = None) -> None:
        """Note an event of a step; ``end`` is told once all up to it was written, or lost."""
        with self._changed:
            teller.told.append((kind, data))
            self._pending[teller] = None
            if end is not None:
                self._ends.append(end)
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._pending:
                    self._changed.wait()
                until = time.monotonic() + FLUSH_S
                while not self._ends and (left := until - time.monotonic()) > 0:
                    self._changed.wait(left)
                ends, self._ends = self._ends, []
                told = [(teller, teller.take()) for teller in self._pending]
                self._pending = {}
            try:
                self._write(told)
            except Exception as error:  # noqa: BLE001 - watchers see that something is missing
                note(log, "streams", "What steps told was not written", error=error)
            for end in ends:
                end.set_result(None)

    def _write(self, told: Iterable[tuple[Teller, list[tuple[str, Any]]]]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        keys = set()
        for teller, events in told:
            for event in teller.events(events):
                keys.add(teller.key)
                fields: dict[Any, Any] = {names.STREAM_FIELD: event}
                pipeline.xadd(teller.key, fields, maxlen=EVENTS_MAX, approximate=True)
        for key in keys:
            pipeline.expire(key, KEEP_S)
        if not keys or time.monotonic() < self._quiet_until:
            return
        try:
            pipeline.execute()
        except (RedisError, OSError):
            self._quiet_until = time.monotonic() + PAUSE_S
            raise


class Teller:
    """Tells what one claim of a step says and does. Never fails, and waits for nothing."""

    def __init__(self, streams: Streams, claim: Claimed) -> None:
        self._streams = streams
        about = {"step_id": claim.id, "agent": claim.agent, "token": claim.token}
        self._about: dict[str, Any] = about
        self.key = names.STREAM + claim.run_id
        self.told: list[tuple[str, Any]] = []
        self._text = StreamedText()
        self._count = 0

    def say(self, text: str) -> None:
        """Tell a piece of the answer's text. Its end is held back: a secret may be cut there."""
        if text:
            self._streams.put(self, "text", text)

    def tell(self, kind: str, **data: JsonValue) -> None:
        """Tell an event of a kind, after all text before it."""
        self._streams.put(self, kind, data)

    def end(self, state: str) -> Future[None]:
        """Tell how it ended; the future is done once all that it told was written, or lost."""
        written: Future[None] = Future()
        self._streams.put(self, "state", {"state": state}, end=written)
        return written

    def take(self) -> list[tuple[str, Any]]:
        """Hand over what was told."""
        told, self.told = self.told, []
        return told

    def events(self, told: Iterable[tuple[str, Any]]) -> Iterable[str]:
        """Yield the events as they are written, pieces of text as one."""
        pieces = ""
        for kind, data in told:
            if kind == "text":
                pieces += data
                continue
            # Progress is told within a text, which goes on: what is held back of it stays so.
            text = self._text.add(pieces) + ("" if kind == "progress" else self._text.end())
            pieces = ""
            if text:
                yield self._event("text", text=text)
            if (shown := _shown(data)) is not None:
                yield self._event(kind, data=shown)
        if pieces and (text := self._text.add(pieces)):
            yield self._event("text", text=text)

    def _event(self, kind: str, **fields: Any) -> str:
        self._count += 1
        if (seals := self._streams.seals) is not None and kind != "state":
            fields = seals.seal(fields, self._about["step_id"], EVENT)
        told = {"type": kind, **self._about, "n": self._count, **fields}
        return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def _shown(data: dict[str, JsonValue]) -> JsonValue:
    """Return data as watchers may see it; None for what is no JSON or too large."""
    if problem(data) is not None or len(json.dumps(data)) > DATA_BYTES:
        return None
    return clean(data)
