"""``agents.fallback``: candidates in order, or raced."""

from __future__ import annotations

from functools import partial

from celery import shared_task

from agents.patterns.fallback import pattern
from agents.plan import Expand
from app.execution.calls import experience
from app.execution.context import Step
from app.execution.learning import with_memory
from app.execution.task import StepTask
from celery_agents import names
from celery_agents.contracts.outcome import Outcome
from celery_agents.contracts.patterns import Fallback


@shared_task(base=StepTask, name=names.FALLBACK, request_type=Fallback)
def fallback(step: Step, request: Fallback) -> Expand | Outcome:
    """Ask candidates until one answers; args [input], kwargs: see ``Fallback``."""
    _refuse_to_race(step, request)
    members = step.members()
    masked = step.runtime.agents.turns.out(request, members)
    begun = partial(pattern.advance, request, members, step_id=step.step_id)
    advance = partial(begun, masked=masked, remaining_s=step.claim.left_s)
    if request.strategy not in pattern.LEARNING:
        return advance()
    seen = experience.seen(step, request)
    return with_memory(step.runtime.journal, request, members, advance, seen=seen)


def _refuse_to_race(step: Step, request: Fallback) -> None:
    if request.strategy in {"parallel", "hedged"}:
        step.runtime.agents.registry.refuse_to_race(c.agent for c in request.candidates)
