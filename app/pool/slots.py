"""How many steps a process of a worker can run at a time."""

from __future__ import annotations

import os
from typing import Any

#: The module of the pool whose children are processes.
PREFORK = "celery.concurrency.prefork"


def keep_worker(sender: Any = None, **_: Any) -> None:
    """Remember the worker of this process: its concurrency is settled later, before its pool."""
    sender.app.agents_worker = (sender, os.getpid())


def slots_of(app: Any) -> int | None:
    """The slots of this process; None: it is no worker's.

    A child of prefork has one, and its parent, which takes no steps, none.
    """
    worker, pid = getattr(app, "agents_worker", (None, 0))
    if worker is None:
        return None
    if worker.pool_cls.__module__ == PREFORK:
        return int(os.getpid() != pid)
    return worker.concurrency if isinstance(worker.concurrency, int) else None
