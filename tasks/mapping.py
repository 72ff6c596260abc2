"""``agents.map``: agents, or a panel, over many inputs."""

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
    """Ask agents about each input; args [inputs], kwargs: see ``Map``."""
    tally, left_s = step.tally(), step.claim.left_s
    if request.resumes is None:
        return pattern.advance(request, tally, remaining_s=left_s)
    earlier = step.earlier_map(request.resumes)
    wanted = Map.from_message(earlier["args"], earlier["kwargs"], known=True)
    answered = {} if tally.total == len(wanted.input or ()) else step.answers_of(request.resumes)
    request = pattern.resumed(request, wanted)
    return pattern.advance(request, tally, remaining_s=left_s, answered=answered)
