"""``agents.fallback``: candidates in order, or raced."""

from __future__ import annotations

from celery import shared_task

from agents.patterns import fallback as pattern
from app.plan import Expand
from app.step import Step
from app.task import StepTask
from celery_agents import names
from celery_agents.contracts.outcome import Outcome
from celery_agents.contracts.patterns import Fallback
from tasks.registry import registry_of


@shared_task(base=StepTask, name=names.FALLBACK, request_type=Fallback)
def fallback(step: Step, request: Fallback) -> Expand | Outcome:
    """Ask candidates until one answers; args [input], kwargs: see ``Fallback``."""
    if request.strategy in {"parallel", "hedged"}:
        registry_of(step.runtime).refuse_to_race(c.agent for c in request.candidates)
    return pattern.advance(request, step.members(), step_id=step.step_id)
