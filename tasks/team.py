"""``agents.team``: a lead who asks others, and a report."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from celery import shared_task

from agents.catalog.specs import check_specs, eligible, told, unknown
from agents.patterns import team as pattern
from agents.plan import Expand
from app.execution.context import Step
from app.execution.task import StepTask
from celery_agents import names
from celery_agents.contracts.outcome import Outcome
from celery_agents.contracts.teams.spec import AgentSpec
from celery_agents.contracts.teams.team import Team


@shared_task(base=StepTask, name=names.TEAM, request_type=Team)
def team(step: Step, request: Team) -> Expand | Outcome:
    """Have a lead do a task with others; args [task], kwargs: see ``Team``."""
    turned = partial(step.runtime.journal.parents.below, step.step_id)
    about: Any = {"turned": turned, "remaining_s": step.claim.left_s}
    return pattern.advance(request, step.members(), staff=_staff(step, request), **about)


def _staff(step: Step, request: Team) -> pattern.Staff:
    """The registered agents, as far as they may work in this team."""
    registry = step.runtime.agents.registry

    def check(members: Sequence[AgentSpec]) -> None:
        lead = AgentSpec(base=request.lead, members=tuple(members))
        if not members:
            return
        if unknown(registry, (lead,)):  # somebody may have made it just now
            step.runtime.posted.look()
        check_specs(registry, (lead,))

    if not isinstance(request.members, str):
        return pattern.Staff(check)
    bases = eligible(registry, request.lead, request.members)
    return pattern.Staff(check, bases, told(registry, bases or ()))
