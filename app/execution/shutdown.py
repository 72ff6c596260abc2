"""Warm shutdown: running steps may end within the grace time; what does not is given back.

Each process gives back its own. Celery's main process waits for the children of a prefork pool and
reaches them by no message any more, so a signal tells them.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from typing import Any

from celery import Celery

from app.execution.runtime import Runtime, runtime_of

#: To a prefork child: the grace time is over. Celery and billiard use the other free ones.
TIME_IS_OVER = signal.SIGUSR2


def drain_later(runtime: Runtime, pool: Any) -> None:
    """Give back what still runs after ``drain_grace_s``, in this process and the pool's."""

    def drain() -> None:
        runtime.drain()
        children = set((pool.info or {}).get("processes", ())) - {os.getpid()}
        for pid in children:
            with suppress(ProcessLookupError):  # it has ended in time
                os.kill(pid, TIME_IS_OVER)

    timer = threading.Timer(runtime.settings.drain_grace_s, drain)
    timer.daemon = True
    timer.start()


def listen(app: Celery) -> None:
    """In a child: give back what runs when the signal comes."""

    def over(*_: Any) -> None:
        # Not in the handler: it may have interrupted whoever holds the locks that this takes.
        threading.Thread(target=runtime_of(app).drain, daemon=True).start()

    signal.signal(TIME_IS_OVER, over)
