"""Tasks of other apps: how an agent's entry says that they are reached, or as Celery does."""

from __future__ import annotations

from collections.abc import Iterable

from agents.catalog.entries import CeleryEntry
from agents.catalog.registry import Registered
from celery_agents.contracts.flows.task import DEFAULT_QUEUE


def task_entry(agents: Iterable[Registered], task: str, queue: str | None) -> CeleryEntry:
    """The entry of an agent with that task, in that queue if one is named; else a plain one."""
    for entry in (agent.entry for agent in agents):
        if isinstance(entry, CeleryEntry) and entry.task == task and queue in (None, entry.queue):
            return entry
    return CeleryEntry(kind="celery", task=task, queue=queue or DEFAULT_QUEUE)
