"""``agents.vote``: many agents, one decision."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery import shared_task

from agents.patterns.vote import pattern, records
from agents.plan import Expand, MemberState
from app.execution import learning
from app.execution.context import Step
from app.execution.task import StepTask
from celery_agents import names
from celery_agents.contracts.outcome import Outcome
from celery_agents.contracts.patterns import Vote

#: Ballots that are counted on the loop: their reading takes most of it, and less than a claim.
BRIEF = 16


class VoteTask(StepTask):
    """A pattern's task that knows when a vote is decided before all voters have answered."""

    abstract = True
    request_type = Vote

    def is_brief(self, request: Vote) -> bool:
        """Return whether few ballots are counted, without comparing options in pairs."""
        simple = request.rule.ballot == "option" and not records.measured(request)
        return simple and request.ballots <= BRIEF

    def decided(self, payload: dict[str, Any], members: list[MemberState]) -> bool:
        """Return whether the rest of the voters cannot matter; by measured records, not yet."""
        vote = Vote.from_message(payload["args"], payload["kwargs"], known=True)
        return not records.measured(vote) and pattern.decided(vote, members)


@shared_task(base=VoteTask, name=names.VOTE)
def vote(step: Step, request: Vote) -> Expand | Outcome:
    """Put a question to a vote; args [question], kwargs: see ``Vote``."""
    about: Any = {"members": step.members(), "remaining_s": step.claim.left_s}
    advance = partial(pattern.advance, **about)
    return learning.with_records(step.runtime.journal, request, step.tenant, advance)
