"""``agents.webhook``: telling somebody by HTTP that a run has ended."""

from __future__ import annotations

from celery import shared_task

from app.execution.context import Step
from app.execution.task import StepTask
from app.execution.webhooks import deliveries
from celery_agents import names
from celery_agents.contracts.outcome import Answer, Outcome
from celery_agents.contracts.patterns import Delivery


@shared_task(base=StepTask, name=names.WEBHOOK, request_type=Delivery)
async def webhook(step: Step, request: Delivery) -> Answer | Outcome:
    """Tell a receiver of an end; see :class:`celery_agents.contracts.policies.Webhook`."""
    return await deliveries(step.runtime).deliver(step, request)
