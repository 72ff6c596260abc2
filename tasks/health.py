"""``agents.probe``: looking at broker, journal, agents and providers."""

from __future__ import annotations

from typing import Any

from celery import Celery, shared_task

from agents.catalog.probes import probe_agents
from app.concurrency.fibers import wait
from app.execution.runtime import runtime_of
from app.journal.tables.ticks import take_slot
from app.maintenance.health import probe_broker, probe_journal, record
from celery_agents import names


@shared_task(name=names.PROBE, bind=True)
def probe(self: Any, every_s: float | None = None) -> dict[str, str] | None:
    """Look at everything once; the states by target.

    With ``every_s`` (from beat) only the first message of a turn works; None for the others.
    """
    runtime = runtime_of(self.app, self.request.hostname)
    journal, settings = runtime.journal, runtime.settings
    if every_s is not None and not journal.transaction(
        lambda c: take_slot(c, self.name, every_s, journal.me.id)
    ):
        return None
    looking = probe_agents(
        runtime.agents.registry,
        timeout_s=settings.health_timeout_s,
        queues=lambda: _served(self.app),
    )
    agents = runtime.loop.submit(looking)
    own = [probe_broker(settings), probe_journal(journal.engine)]
    return record(journal, [*own, *wait(agents)], settings)


def _served(app: Celery) -> set[str]:
    """Queues that workers of any app on this broker consume; takes a second."""
    replies = app.control.inspect(timeout=1.0).active_queues() or {}
    return {queue["name"] for queues in replies.values() for queue in queues}
