"""Telling traces: a thread in each worker, of which one at a time tells for all.

Runs that have ended are found behind a cursor in the journal, which is moved once a collector has
taken their spans. So whatever ended a step (a worker, SQL, recovery) it is told, from its row, and
once. Where the collector is away the journal itself is the backlog: nothing is held in memory but
one portion, and nothing waits for it. Only a process that dies between the collector's answer and
that write has a portion told again, with the same ids.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from app.execution.runtime import Runtime
from app.journal.queries.traced import TracedRun
from app.journal.stores.traces import Traces
from app.journal.tables.ended import EndedRuns
from app.watching.contents import Contents
from app.watching.otlp import Sent
from app.watching.spans import SpanRow, spans_of
from app.watching.tracing import Tracing
from celery_agents.errors import AgentsError
from celery_agents.noted import note, noting

log = logging.getLogger(__name__)

#: Runs that are looked for, and steps that are read at a time; spans of one request: some 0.4 MB,
#: where collectors take 4 MB and more.
RUNS_MAX, STEPS_MAX, SPANS_MAX = 500, 250, 1_000
#: While steps run in this process, telling takes this part of its time at most: what is computed
#: here holds the interpreter, which they need. The journal keeps what is left for later.
SHARE = 0.1
#: Who holds the duty may be silent for three turns and a request that is tried again (10 s).
_TURNS, _REQUEST_S = 3, 20.0


class Sends(Protocol):
    """Sends spans, and says how that ended."""

    def send(self, spans: list[SpanRow]) -> Sent: ...

    def close(self) -> None: ...


class TracePortion:
    """Runs that have ended, on their way to the collector; what it has taken is not sent again."""

    def __init__(self, ended: EndedRuns, sizes: Mapping[str, int]) -> None:
        self.ended = ended
        #: Runs whose rows are still to be read, some at a time.
        self.groups = list(grouped(sizes, STEPS_MAX))
        self.chunks: list[list[SpanRow]] = []

    def divide(self) -> None:
        """Halve the next request; a single span that is refused is left out."""
        spans = self.chunks.pop(0)
        if len(spans) == 1:
            note(log, "traces_refused", "A span was refused and is left out: %s", spans[0].name)
            return
        half = len(spans) // 2
        self.chunks[:0] = [spans[:half], spans[half:]]


def grouped(sizes: Mapping[str, int], most: int) -> Iterator[list[str]]:
    """Runs that have so many steps together at the most, or one that has more."""
    group: list[str] = []
    steps = 0
    for run_id, size in sizes.items():
        if group and steps + size > most:
            yield group
            group, steps = [], 0
        group.append(run_id)
        steps += size
    if group:
        yield group


class TraceTeller:
    """Tells portions of ended runs, one after the other."""

    def __init__(
        self,
        journal: Traces,
        tracing: Tracing,
        exporter: Sends,
        contents: Contents | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        rest: Callable[[float], object] = lambda _: None,
    ) -> None:
        self._journal, self._tracing, self._exporter = journal, tracing, exporter
        self._contents = contents
        self._clock, self._rest = clock, rest
        self._kept_at = -math.inf
        self._portion: TracePortion | None = None

    def tell(self, lease_s: float) -> bool:
        """Tell a portion, if it is this process's turn; returns whether there may be more.

        Raises:
            JournalUnavailableError: the portion goes on the next time.
        """
        if not self._keep_duty(lease_s):
            return False
        if self._portion is None:
            self._portion = TracePortion(*self._journal.ended(RUNS_MAX))
        portion = self._portion
        while portion.chunks or portion.groups:
            before = time.thread_time()
            if not portion.chunks:
                portion.chunks = self._read(portion.groups[0])
                portion.groups.pop(0)
                if not portion.chunks:
                    continue
            match self._exporter.send(portion.chunks[0]):
                case Sent.TAKEN:
                    portion.chunks.pop(0)
                case Sent.REFUSED:
                    portion.divide()
                case Sent.AWAY:
                    return False
            self._rest(time.thread_time() - before)
            if not self._keep_duty(lease_s):
                return False
        more = not portion.ended.is_empty and self._journal.told(portion.ended)
        self._portion = None
        return more

    def _keep_duty(self, lease_s: float) -> bool:
        """Take or keep the duty; a write of its own, so only once in a fifth of its time."""
        at = self._clock()
        if at < self._kept_at + lease_s / 5:
            return True
        if not self._journal.take_duty(lease_s):
            self._portion = None
            return False
        self._kept_at = at
        return True

    def leave(self) -> None:
        """Let another process tell at once."""
        self._journal.take_duty(0.0)
        self._portion, self._kept_at = None, -math.inf

    def _read(self, run_ids: list[str]) -> list[list[SpanRow]]:
        content = self._contents
        rows = self._journal.rows(run_ids, content=content is not None)
        spans = [span for run in rows for span in self._spans(run)]
        return [spans[at : at + SPANS_MAX] for at in range(0, len(spans), SPANS_MAX)]

    def _spans(self, run: TracedRun) -> Iterable[SpanRow]:
        spans = spans_of(run, None if self._contents is None else self._contents.of)
        return spans if self._tracing.kept(spans) else ()


class TracesThread:
    """Tells traces until it is stopped."""

    def __init__(self, runtime: Runtime, tracing: Tracing) -> None:
        settings = runtime.settings
        self._interval_s = settings.traces_interval_s
        journal = Traces(
            runtime.journal.engine,
            runtime.journal.me.id,
            delay_s=settings.traces_delay_s,
            backlog_s=settings.traces_backlog_s,
        )
        contents = Contents(runtime.agents.registry) if tracing.content else None
        self._exporter = tracing.exporter()
        self._teller = TraceTeller(journal, tracing, self._exporter, contents, rest=self._rest)
        self._active = runtime.active
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="agents-traces", daemon=True)

    def start(self) -> None:
        """Start to tell, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; what is not told yet is told by others, or after the next start."""
        self._stopped.set()
        self._exporter.close()
        self._thread.join(timeout=5)

    def _rest(self, took_s: float) -> None:
        """Leave the rest of the time to steps, where some are under way."""
        if self._active:
            self._stopped.wait(took_s * (1 / SHARE - 1))

    def _work(self) -> None:
        lease_s = _TURNS * self._interval_s + _REQUEST_S
        while not self._stopped.wait(self._interval_s):
            try:
                while self._teller.tell(lease_s) and not self._stopped.is_set():
                    pass
            except AgentsError as error:
                note(log, "traces", "Traces wait", error=error)
            except Exception as error:  # noqa: BLE001 - it is noted
                text = "Telling traces failed; it goes on at the next turn"
                note(log, "traces_failed", text, error=error, trace=True)
        with noting(log, "traces_left", "The duty of telling traces ends by itself", AgentsError):
            self._teller.leave()
