"""``agents.team``: a lead who asks others, and a report."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery import shared_task

from agents.patterns import team as pattern
from agents.plan import Expand
from app.execution.context import Step
from app.execution.staffing import staff_of
from app.execution.task import StepTask
from celery_agents import names
from celery_agents.contracts.outcome import Outcome
from celery_agents.contracts.teams.team import Team


@shared_task(base=StepTask, name=names.TEAM, request_type=Team)
def team(step: Step, request: Team) -> Expand | Outcome:
    """Have a lead do a task with others; args [task], kwargs: see ``Team``."""
    turned = partial(step.runtime.journal.parents.below, step.step_id)
    about: Any = {"turned": turned, "remaining_s": step.claim.left_s}
    return pattern.advance(request, step.members(), staff=staff_of(step, request), **about)
