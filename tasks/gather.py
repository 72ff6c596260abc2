"""``agents.gather``: many agents' answers made one value."""

from __future__ import annotations

from celery import shared_task

from agents.patterns.gather import pattern
from agents.plan import Expand
from app.execution.context import Step
from app.execution.task import StepTask
from celery_agents import names
from celery_agents.contracts.gather import Gather
from celery_agents.contracts.outcome import Outcome


@shared_task(base=StepTask, name=names.GATHER, request_type=Gather)
def gather(step: Step, request: Gather) -> Expand | Outcome:
    """Ask all agents and aggregate; args [input], kwargs: see ``Gather``."""
    return pattern.advance(request, step.members(), remaining_s=step.claim.left_s)
