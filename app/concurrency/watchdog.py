"""A watch on the loop that all steps of a process share.

Whatever computes on it, instead of waiting, holds up everybody. What does so for as long as a
lease is interrupted there, and its attempt has ended badly. Where that does not help, because it
stands in code that is not Python's, the heartbeat stops, so that other workers take the steps
over (each takeover is an attempt), and ``/healthz`` asks for a restart. A write of ours is not
interrupted (``LoopThread.unbroken``): what was finished must not fail because a database is slow.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType

from app.concurrency.loop import LoopThread
from celery_agents.errors import LoopStalledError

log = logging.getLogger(__name__)
#: Looks in the time that a loop may stand still.
_LOOKS = 10


def _frame_of(thread_id: int) -> FrameType | None:
    """Return the frame that a thread is in.

    No garbage is collected meanwhile: where that begins in there, CPython before 3.11.9 stands
    still for ever, with all of its threads (gh-106883).
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames().get(thread_id)  # noqa: SLF001 - there is no other way
    finally:
        if collects:
            gc.enable()


class Watchdog:
    """Checks that the loop still turns; ``patience_s`` is how long it may stand still."""

    def __init__(
        self,
        loop: LoopThread,
        patience_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        running: Callable[[], list[str]] = list,
    ) -> None:
        self._loop = loop
        self._patience_s = patience_s
        self._every_s = patience_s / _LOOKS
        self._clock = clock
        self._running = running
        self._looked_at = clock()
        self._asked = self._answered = 0
        self._stood_s = 0.0
        self._told_s = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="agents-watchdog", daemon=True)

    def start(self) -> None:
        """Start to watch, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()

    @property
    def stalled(self) -> bool:
        """True when the loop has stood still for longer than it may."""
        return self._stood_s > self._patience_s

    def look(self) -> None:
        """Check whether the loop has turned since the last look; interrupt it if need be.

        Between two looks no more is counted than they are apart: a process that was frozen as a
        whole, or a machine that slept, is no loop that stands still.
        """
        at = self._clock()
        passed_s = min(at - self._looked_at, 2 * self._every_s)
        self._looked_at = at
        if self._answered == self._asked:
            self._stood_s = self._told_s = 0.0
            self._asked += 1
            self._loop.loop.call_soon_threadsafe(self._answer)
            return
        self._stood_s += passed_s
        if self._stood_s - self._told_s > self._patience_s:
            self._told_s = self._stood_s
            self._interrupt()

    def _answer(self) -> None:
        self._answered = self._asked

    def _interrupt(self) -> None:
        thread_id = self._loop.thread_id
        frame = _frame_of(thread_id)
        where = "".join(traceback.format_stack(frame)) if frame is not None else "unknown"
        steps = ", ".join(self._running()[:20])
        breaks = self._loop.unbroken.acquire(blocking=False)
        try:
            log.warning(
                "The loop has stood still for %.1f s, with these steps: %s. It %s at\n%s",
                self._stood_s,
                steps or "none",
                "is interrupted" if breaks else "waits, for something that has an end of its own,",
                where,
            )
            if breaks and self._answered != self._asked:  # it has not gone on meanwhile
                raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
                raise_in(ctypes.c_ulong(thread_id), ctypes.py_object(LoopStalledError))
        finally:
            if breaks:
                self._loop.unbroken.release()

    def _work(self) -> None:
        while not self._stopped.wait(self._every_s):
            try:
                self.look()
            except RuntimeError:  # the loop is closed
                return
