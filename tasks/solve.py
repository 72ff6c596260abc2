"""``agents.solve``: one of several strategies, and what is learned of them."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery import shared_task

from agents.patterns.solve import pattern
from agents.plan import Expand
from app.execution import learning
from app.execution.calls import experience
from app.execution.context import Step
from app.execution.runtime import runtime_of
from app.execution.task import StepTask
from app.maintenance.acts import recorded
from celery_agents import names
from celery_agents.contracts.base import id_of, name_of
from celery_agents.contracts.outcome import Outcome
from celery_agents.contracts.teams.solve import Solve, score_of


@shared_task(base=StepTask, name=names.SOLVE, request_type=Solve)
def solve(step: Step, request: Solve) -> Expand | Outcome:
    """Have a task done by one of several strategies; args [task], kwargs: see ``Solve``."""
    members = step.members()
    about: Any = {"step_id": step.step_id, "remaining_s": step.claim.left_s}
    advance = partial(pattern.advance, request, members, **about)
    seen = experience.seen(step, request)
    return learning.with_lessons(step.runtime.journal, request, members, advance, seen=seen)


@shared_task(name=names.LEARNED, bind=True)
def learned(self: Any, work: str | None = None) -> list[dict[str, Any]]:
    """List what was learned of strategies and candidates, for a sort of work or for all."""
    journal = runtime_of(self.app, self.request.hostname).journal
    of = None if work is None else name_of(work, "work")
    return [one.model_dump(mode="json") for one in learning.learned(journal, of)]


@shared_task(name=names.FEEDBACK, bind=True, acks_late=True)
def feedback(self: Any, run_id: str, score: float) -> None:
    """Let memories learn what the answer of a run was worth, from 0 to 1."""
    of, worth = id_of(run_id), score_of(score)
    journal = recorded(self, "run.feedback", of, score=worth).journal
    learning.judge(journal, of, worth, self.request.id)
