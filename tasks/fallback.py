"""``agents.fallback``: candidates in order, or raced."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from celery import shared_task

from agents.patterns.fallback import learned as memory
from agents.patterns.fallback import pattern
from agents.patterns.fallback.learned import Learned
from agents.patterns.plan import Expand, MemberState
from app.execution.context import Step
from app.execution.task import StepTask
from app.journal.tables import memos
from celery_agents import names
from celery_agents.contracts.outcome import Outcome
from celery_agents.contracts.patterns import Fallback
from celery_agents.errors import AllCandidatesFailedError


@shared_task(base=StepTask, name=names.FALLBACK, request_type=Fallback)
def fallback(step: Step, request: Fallback) -> Expand | Outcome:
    """Ask candidates until one answers; args [input], kwargs: see ``Fallback``."""
    if request.strategy in {"parallel", "hedged"}:
        step.runtime.agents.registry.refuse_to_race(c.agent for c in request.candidates)
    members = step.members()
    if request.strategy not in pattern.LEARNING:
        return pattern.advance(
            request,
            members,
            step_id=step.step_id,
            masked=step.runtime.agents.turns.masked(request.candidates),
            remaining_s=step.claim.left_s,
        )
    return _learning(step, request, members)


def _learning(step: Step, request: Fallback, members: list[MemberState]) -> Expand | Outcome:
    """The same with the chain's memory: read before, written after."""
    begun = partial(memory.with_request, request=request)
    known = _remember(step, request, (lambda m: m) if members else begun)
    ended = partial(memory.with_attempts, request=request, members=members, at=known.requests)
    try:
        plan = pattern.advance(
            request,
            members,
            step_id=step.step_id,
            learned=known,
            masked=step.runtime.agents.turns.masked(request.candidates),
            remaining_s=step.claim.left_s,
        )
    except AllCandidatesFailedError:
        _remember(step, request, ended)
        raise
    if isinstance(plan, Outcome):
        _remember(step, request, ended)
    elif pattern.hedges(plan):
        _remember(step, request, memory.with_hedge)
    return plan


def _remember(step: Step, request: Fallback, revise: Callable[[Learned], Learned]) -> Learned:
    data = step.runtime.journal.transaction(
        lambda c: memos.change(
            c, memory.memo_key(request), lambda found: revise(Learned.read(found)).compact()
        )
    )
    return Learned.read(data)
