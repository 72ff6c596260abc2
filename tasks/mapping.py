"""``agents.map``: one agent over many inputs."""

from __future__ import annotations

from celery import shared_task

from agents.patterns import map as pattern
from agents.plan import Expand
from app.execution.context import Step
from app.execution.task import StepTask
from celery_agents import names
from celery_agents.contracts.mapping import Map
from celery_agents.contracts.outcome import Outcome


@shared_task(base=StepTask, name=names.MAP, request_type=Map)
def mapping(step: Step, request: Map) -> Expand | Outcome:
    """Ask one agent about each input; args [inputs], kwargs: see ``Map``."""
    return pattern.advance(request, step.tally(), remaining_s=step.claim.left_s)
