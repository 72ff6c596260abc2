"""One test: requests are sent when they are due, and their ends are looked for beside it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

from app.load.sent import Requests
from app.load.witness import Witness
from celery_agents.errors import AgentsError
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: Ends are looked for so often, and of so many of the oldest requests; memory so often.
_LOOK_S, _LOOKED_AT, _MEMORY_S = 0.5, 2_000, 2.0
#: So many are sent at once at the most: more, and the first ones would wait for the last.
_BATCH = 200
#: Sends so many runs; their ids. A number each is given, for inputs that differ.
Send = Callable[[Sequence[int]], list[str]]
#: Told how it goes, in a line.
Tell = Callable[[str], None]


class Trial:
    """A bounded test: at most so many requests, and so many seconds for the last ones to end."""

    def __init__(
        self, send: Send, witness: Witness, *, most: int, drain_s: float, tell: Tell
    ) -> None:
        self._send = send
        self._witness = witness
        self._most = most
        self._drain_s = drain_s
        self._tell = tell
        self.requests = Requests()
        #: Whether somebody stopped it, or there was no more to be sent.
        self.interrupted = self.exhausted = False
        #: Seconds since the begin, and what each worker held then.
        self.memory: list[tuple[float, dict[str, int]]] = []
        self.begin = time.time()

    @property
    def stopped(self) -> bool:
        """True where nothing more is sent."""
        return self.interrupted or self.exhausted

    def arrive(self, due: Iterable[float]) -> None:
        """Send requests at these seconds from now on; Ctrl-C ends it, with what there is."""
        begin = time.time()
        try:
            self._arrive(begin, iter(due))
        except KeyboardInterrupt:
            self.interrupted = True

    def drain(self) -> None:
        """Wait until all have ended, or the time for that is over."""
        until = time.monotonic() + self._drain_s
        try:
            while self.requests.open(1) and time.monotonic() < until:
                time.sleep(_LOOK_S / 5)
        except KeyboardInterrupt:
            self.interrupted = True

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look for ends until the block is left, and once more then."""
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self._look(None)

    def _arrive(self, begin: float, due: Iterator[float]) -> None:
        waiting: list[float] = []
        for second in chain(due, [None]):
            if waiting and (second is None or second + begin > time.time()):
                self._sent(begin, waiting)
                waiting = []
            if second is None or self.stopped:
                return
            time.sleep(max(0.0, begin + second - time.time()))
            waiting.append(second)
            if len(waiting) == _BATCH:
                self._sent(begin, waiting)
                waiting = []

    def _sent(self, begin: float, due: list[float]) -> None:
        before = self.requests.count
        due = due[: self._most - before]
        self.exhausted = before + len(due) >= self._most
        try:
            ids = self._send(range(before, before + len(due)))
        except (
            AgentsError
        ) as error:  # unknown, and not failed: what was delivered ends all the same
            self.requests.refused += len(due)
            self.requests.error = f"{error.kind}: {error}"
            return
        self.requests.add(ids, [begin + second for second in due])
        late = time.time() - (begin + due[0])
        self.requests.late_s = max(self.requests.late_s, late)

    def _watch(self, over: threading.Event) -> None:
        remembered = 0.0
        while not over.wait(_LOOK_S):
            try:
                self._look(_LOOKED_AT)
                at = time.time() - self.begin
                if at - remembered >= _MEMORY_S:
                    remembered = at
                    self.memory.append((at, self._witness.memory()))
            except AgentsError as error:
                note(log, "load_watched", "The journal did not say what has ended", error=error)
            self._tell(self._line())

    def _look(self, most: int | None) -> None:
        for end in self._witness.ends(self.requests.open(most)):
            self.requests.end(end.run_id, end.at, end.state)

    def _line(self) -> str:
        every = self.requests.all()
        ended = [sent for sent in every if sent.ended is not None]
        failed = sum(sent.state != "succeeded" for sent in ended)
        recent = sorted(sent.latency_s or 0.0 for sent in ended[-500:])
        middle = f", the last ones in {recent[len(recent) // 2]:.2f} s" if recent else ""
        return (
            f"{time.time() - self.begin:6.0f} s  {len(every):,} sent, {len(ended):,} ended, "
            f"{len(every) - len(ended):,} open, {failed:,} failed{middle}"
        )
