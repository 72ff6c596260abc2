"""The spans below which runs were asked for, as far as this process knows them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from app.journal.schema.rows import Claimed
from celery_agents.names import TRACE
from celery_agents.traces import TraceParent

#: Runs whose callers are remembered: members of one come close together.
CALLERS_MAX = 2_000


class RunCaller(NamedTuple):
    """The span of a run's caller, where it has one."""

    caller: TraceParent | None


class Callers:
    """The callers of runs whose steps run here; ``read`` finds one in the journal, and blocks."""

    def __init__(self, read: Callable[[str], TraceParent | None]) -> None:
        self._read = read
        self._known: OrderedDict[str, RunCaller] = OrderedDict()
        self._lock = threading.Lock()

    def at_hand(self, claim: Claimed) -> RunCaller | None:
        """The caller of a step's run, as far as it is known; a root's payload says it."""
        if claim.id == claim.run_id:
            return self._remember(claim.run_id, TraceParent.read(claim.payload.get(TRACE)))
        with self._lock:
            return self._known.get(claim.run_id)

    def read(self, run_id: str) -> RunCaller:
        """Read it, once a run.

        Raises:
            JournalUnavailableError: the journal is away.
        """
        return self._remember(run_id, self._read(run_id))

    def _remember(self, run_id: str, caller: TraceParent | None) -> RunCaller:
        found = RunCaller(caller)
        with self._lock:
            self._known[run_id] = found
            if len(self._known) > CALLERS_MAX:
                self._known.popitem(last=False)
        return found
