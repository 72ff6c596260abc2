"""The events of a run, as one watcher gets them."""

from __future__ import annotations

import asyncio
import math
import queue
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, Generic, Protocol

from typing_extensions import TypeVar

from celery_agents.client.partial import PartialAnswers
from celery_agents.client.waiting import Awaited, Meta
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.events import END, RunEvent
from celery_agents.contracts.outcome import Outcome
from celery_agents.errors import ResultTimeoutError

#: Of a run's value.
T = TypeVar("T", default=Any)

#: Before the first event of a stream.
FIRST = "0-0"
#: Events that a watcher may leave untaken; then nothing is read for it until it took them.
_BEHIND = 2_000
#: Fields of an entry that its event has.
_TOLD = ("type", "step_id", "agent", "text", "data")


class Watched(Awaited, Protocol):
    """A run, as far as watching it goes."""

    @property
    def answer_schema(self) -> dict[str, Any] | None: ...
    def outcome_in(self, meta: Meta) -> Outcome | None: ...
    def read(self, value: JsonValue) -> Any: ...


class Watches(Protocol):
    """The reader, as its watchers see it."""

    def add(self, watcher: Events[Any]) -> None: ...
    def remove(self, watcher: Events[Any]) -> None: ...


class Events(Generic[T]):
    """The events of a run, for one watcher; to be iterated once, by ``for`` or ``async for``."""

    def __init__(self, watching: Watches, run: Watched, after: str, timeout: float | None) -> None:
        self.run, self.after = run, after
        self._watching = watching
        self._timeout = timeout
        self._queue: queue.SimpleQueue[RunEvent[T] | Exception] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._heard: asyncio.Event | None = None
        self.heard_of = after  # the last one that was handed over
        self._at = place(after)
        self._seen: dict[str, tuple[int, int]] = {}
        self._resumed = after != FIRST  # the first event of a step need not be its number one
        #: Whether nothing is read for it; how often that began. Reader and taker change it.
        self.behind = False
        self.fell_behind = 0
        self._pace = threading.Lock()
        schema = run.answer_schema
        self._partial = None if schema is None else PartialAnswers(schema)
        #: Whether it has to hear first what was told before ``after``.
        self.recalls = self._partial is not None and after not in (FIRST, END)

    def __iter__(self) -> Iterator[RunEvent[T]]:
        """Yield events as they come, to the end.

        Raises:
            ResultTimeoutError: none came within ``timeout`` seconds; the run goes on.
        """
        self._watching.add(self)
        try:
            while True:
                try:
                    told = self._queue.get(timeout=self._timeout)
                except queue.Empty:
                    raise self._late() from None
                yield (event := self._taken(told))
                if event.type == "end":
                    return
        finally:
            self._watching.remove(self)

    async def __aiter__(self) -> AsyncIterator[RunEvent[T]]:
        """Yield them on an event loop; raises as ``__iter__``."""
        self._loop, self._heard = asyncio.get_running_loop(), asyncio.Event()
        self._watching.add(self)
        try:
            while True:
                self._heard.clear()
                try:
                    told = self._queue.get_nowait()
                except queue.Empty:
                    try:
                        async with asyncio.timeout(self._timeout):
                            await self._heard.wait()
                    except TimeoutError:
                        raise self._late() from None
                    continue
                yield (event := self._taken(told))
                if event.type == "end":
                    return
        finally:
            self._watching.remove(self)

    def _taken(self, told: RunEvent[T] | Exception) -> RunEvent[T]:
        if isinstance(told, Exception):
            raise told
        self.after = told.id
        with self._pace:
            caught_up = self.behind and self._queue.empty()
            if caught_up:
                self.behind = False
        if caught_up:
            self._watching.add(self)
        return told

    def _late(self) -> ResultTimeoutError:
        text = f"No event of {self.run.id} within {self._timeout} s. The run goes on."
        return ResultTimeoutError(text)

    # What the reader calls.

    def put(self, told: RunEvent[T] | Exception) -> None:
        """Hand over an event, or the reason why there are no more."""
        with self._pace:  # who takes it at once finds out that it is behind
            self._queue.put(told)
            if self._queue.qsize() > _BEHIND and isinstance(told, RunEvent) and told.type != "end":
                self.fell_behind += not self.behind
                self.behind = True
        if self._loop is not None and self._heard is not None:
            try:
                self._loop.call_soon_threadsafe(self._heard.set)
            except RuntimeError:  # the loop is closed: nobody watches any more
                self._watching.remove(self)

    def recall(self, told: dict[str, Any]) -> None:
        """Hear an entry that is not to be handed over any more."""
        if self._partial is not None:
            self._partial.add(told)

    def take(self, event_id: str, told: dict[str, Any]) -> bool:
        """Hand over an entry, unless it is void or was there before; False when one is missing."""
        if (at := place(event_id)) <= self._at:
            return True
        self._at, self.heard_of = at, event_id
        step_id, token, n = told["step_id"], told["token"], told["n"]
        last_token, last = self._seen.get(step_id, (token if self._resumed else 0, None))
        if token < last_token or (token == last_token and last is not None and n <= last):
            return True  # of a frozen worker, or written twice
        self._seen[step_id] = (token, n)
        about: dict[str, Any] = {
            k: told[k] for k in ("type", "step_id", "agent", "text", "data") if k in told
        }
        if self._partial is not None:
            about["partial"] = self._partial.add(told)
        self.put(RunEvent(id=event_id, **about))
        expected = 1 if token > last_token else n if last is None else last + 1
        return bool(n == expected)


def place(event_id: str) -> tuple[float, float]:
    """Where in its stream an event stands."""
    if event_id == END:
        return (math.inf, math.inf)
    at, _, number = event_id.partition("-")
    return (int(at), int(number))
