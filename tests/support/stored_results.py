"""Results as workers store them."""

from __future__ import annotations

from typing import Any

from celery.app.task import Context

from app.messaging.results import JournalBackend, reported
from celery_agents.client.client import Client
from celery_agents.contracts.outcome import Outcome


def worker_says(client: Client, run_id: str, result: Any, outcome: Outcome | None = None) -> None:
    """Store a result as a worker does."""
    url = client.celery.conf.broker_url
    backend = JournalBackend(app=client.celery, url=url)
    request = Context({"id": run_id, "task": "agents.ask"})
    if outcome is not None:
        reported(request).outcome = outcome.compact()
    if isinstance(result, Exception):
        backend.mark_as_failure(run_id, result, request=request)
    else:
        backend.mark_as_done(run_id, result, request=request)
