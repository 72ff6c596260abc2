"""The service as a whole: the journal's part, with what stands in Redis."""

from __future__ import annotations

from app.messaging.intake import Intake
from celery_agents import names
from celery_agents.contracts.watching import Cluster, QueueState


def with_queues(found: Cluster, intake: Intake, queue: str) -> Cluster:
    """Return it with the queues of the service."""
    queues = tuple(
        QueueState(name=name, queued=intake.by_priority(name))
        for name in (queue, names.CONTROL_QUEUE)
    )
    return found.model_copy(update={"queues": queues})
