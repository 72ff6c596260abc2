"""Tasks of other apps that no entry names, as steps."""

from __future__ import annotations

import threading
from collections import OrderedDict

from celery import Celery

from agents.catalog.others import task_entry
from agents.catalog.registry import Registry
from agents.net.clients import ResolveSecret
from app.execution.others.celery_agent import CeleryBackend

#: Tasks of which a process remembers how their results come; the oldest is forgotten.
KEPT_MAX = 1_000


class OtherTasks:
    """The ways to the tasks of other apps, by task and queue.

    An agent of the kind ``celery`` with that task says where its results are, and where it goes.
    """

    def __init__(self, app: Celery, registry: Registry, resolve_secret: ResolveSecret) -> None:
        self._app = app
        self._registry = registry
        self._resolve_secret = resolve_secret
        self._known: OrderedDict[tuple[str, str | None], CeleryBackend] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, task: str, queue: str | None) -> CeleryBackend:
        """The way to a task."""
        with self._lock:
            known = self._known.get((task, queue))
            if known is None:
                entry = task_entry(self._registry, task, queue)
                known = CeleryBackend(self._app, entry, self._resolve_secret)
                self._known[task, queue] = known
                if len(self._known) > KEPT_MAX:
                    self._known.popitem(last=False)
            return known
