"""Steps that wait for limits: they are woken in their turn, and what is held is kept held.

One thread of a process does it, from the first time that something is held or waited for here. The
order stands in Redis, so any process pumps: whoever let a step wait sets a timer, and all look at
all queues now and then, for timers that have died with their process.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from app.admission.limits.shared import SharedLimits
from app.admission.limits.tickets import Pumped
from celery_agents.errors import AgentsError
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: A rate is pumped not more often: some steps are woken together then.
TOGETHER_S = 0.05


class Waker:
    """Wakes steps in their turn.

    Args:
        wake: publishes messages for steps, first of all; returns those that are not to be woken.
        every_s: seconds between two looks at all that is held and waited for.
    """

    def __init__(
        self, limits: SharedLimits, wake: Callable[[Sequence[str]], Sequence[str]], every_s: float
    ) -> None:
        self._limits = limits
        self._wake = wake
        self._every_s = every_s
        self._due: dict[str, float] = {}  # queues, and when they are to be pumped
        self._look_at = 0.0
        self._heard: queue.SimpleQueue[Pumped | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        limits.heard = self._heard.put
        limits.begun = self._start

    def close(self) -> None:
        """Stop; others wake what waits."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            self._heard.put(None)
            thread.join(timeout=5)

    def _start(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._work, name="agents-waiting", daemon=True
                    )
                    self._thread.start()

    def _work(self) -> None:
        while True:
            pause_s = max(min([self._look_at, *self._due.values()]) - time.monotonic(), 0.0)
            try:
                heard = self._heard.get(timeout=pause_s)
            except queue.Empty:
                heard = Pumped()
            if heard is None:
                return
            try:
                self._turn(heard)
            except AgentsError as error:
                note(log, "waiting", "Steps that wait for limits are woken later", error=error)
            except Exception as error:  # noqa: BLE001 - it is noted
                text = "Waking steps failed; it goes on at the next turn"
                note(log, "waiting_failed", text, error=error, trace=True)

    def _turn(self, heard: Pumped) -> None:
        now = time.monotonic()
        for name, wait_s in heard.again.items():
            at = now + max(wait_s, TOGETHER_S)
            self._due[name] = min(self._due.get(name, at), at)
        if heard.woken:
            self._wake_up(heard.woken)
        due = [name for name, at in self._due.items() if at <= now]
        if now >= self._look_at:
            self._look_at = now + self._every_s
            self._limits.renew()
            self._due.clear()
            self._limits.pump()
        elif due:
            for name in due:
                del self._due[name]
            self._limits.pump(due)

    def _wake_up(self, step_ids: Sequence[str]) -> None:
        gone = self._wake(step_ids)
        if gone:
            self._limits.revoke(gone)
