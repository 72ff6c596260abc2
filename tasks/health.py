"""``agents.probe``: looking at broker, journal, agents and providers."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from agents.catalog.probes import probe_agents
from app.concurrency.fibers import in_thread, wait
from app.execution.agents import registry_of
from app.execution.neighbours import served
from app.execution.runtime import runtime_of
from app.journal.tables.ticks import take_slot
from app.maintenance.health import probe_broker, probe_journal, record
from celery_agents import names
from celery_agents.contracts.base import period_of
from celery_agents.errors import AgentsError


@shared_task(name=names.PROBE, bind=True, throws=(AgentsError,))
def probe(self: Any, every_s: float | None = None) -> dict[str, str] | None:
    """Look at everything once; the states by target.

    With ``every_s`` (from beat) only the first message of a turn works; None for the others.
    """
    every_s = period_of(every_s, "every_s")
    runtime = runtime_of(self.app, self.request.hostname)
    journal, settings = runtime.journal, runtime.settings
    if every_s is not None and not journal.transaction(
        lambda c: take_slot(c, self.name, every_s, journal.me.id)
    ):
        return None
    looking = probe_agents(
        registry_of(runtime),
        timeout_s=settings.health_timeout_s,
        queues=lambda: set().union(*served(self.app).values()),
        in_thread=in_thread,
    )
    agents = runtime.loop.submit(looking)
    own = [probe_broker(settings), probe_journal(journal.engine)]
    return record(journal, [*own, *wait(agents)], settings)
