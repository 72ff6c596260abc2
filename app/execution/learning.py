"""Patterns with a memory: read before they decide, written after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from agents.patterns.fallback import learned as memory
from agents.patterns.fallback import pattern
from agents.patterns.fallback.learned import Learned
from agents.patterns.solve import lessons
from agents.plan import Expand, MemberState
from app.journal import Journal
from celery_agents.contracts.outcome import Outcome
from celery_agents.contracts.patterns import Fallback
from celery_agents.contracts.teams.solve import Solve, WorkLessons
from celery_agents.errors import AllCandidatesFailedError, InvalidPayloadError

Advance = Callable[..., Expand | Outcome]
Revise = Callable[[Learned], Learned]


def with_memory(
    journal: Journal, request: Fallback, members: Sequence[MemberState], advance: Advance
) -> Expand | Outcome:
    """``advance(learned=...)`` by what the chain has learned, which then learns from it."""
    begun = partial(memory.with_request, request=request)
    key = memory.memo_key(request)
    known = _remember(journal, key, (lambda m: m) if members else begun)
    about: dict[str, Any] = {
        "adaptive": request.adaptive,
        "hedge": request.hedge,
        "at": known.requests,
    }
    ended = partial(memory.with_attempts, members=members, **about)
    try:
        plan = advance(learned=known)
    except AllCandidatesFailedError:
        _remember(journal, key, ended)
        raise
    if isinstance(plan, Outcome):
        _remember(journal, key, ended)
    elif pattern.hedges(plan):
        _remember(journal, key, memory.with_hedge)
    return plan


def with_lessons(
    journal: Journal, request: Solve, members: Sequence[MemberState], advance: Advance
) -> Expand | Outcome:
    """``advance(learned=...)`` by what was learned of the strategies, which then learn from it."""
    key = lessons.memo_key(request)
    known = _remember(journal, key, (lambda m: m) if members else lessons.with_request)
    plan = advance(learned=known)
    if isinstance(plan, Outcome):
        at = known.requests
        ended = partial(lessons.with_end, request=request, members=members, at=at)
        _remember(journal, key, ended)
    return plan


def learned(journal: Journal, work: str | None) -> list[WorkLessons]:
    """List the lessons for a sort of work, or for all, the last that changed first."""
    found = journal.memos.beginning([lessons.PREFIX, lessons.OF_CHAINS])
    told = [lessons.told(key, data, at) for key, data, at in found]
    return [one for one in told if work is None or one.work == work]


def judge(journal: Journal, run_id: str, score: float) -> None:
    """Let a memory learn what the answer of a run of ``agents.solve`` was worth, from 0 to 1.

    The last score of a run counts, however often it was given one.

    Raises:
        InvalidPayloadError: there is no such run that has succeeded.
    """
    asked = journal.memos.solved(run_id)
    if asked is None:
        raise InvalidPayloadError(f"There is no run {run_id} of agents.solve that has succeeded.")
    request = Solve.from_message(asked["args"], asked["kwargs"], known=True)
    members = journal.members(run_id)
    scored = partial(lessons.with_feedback, request=request, members=members, score=score)

    def revise(found: dict[str, Any], was: float | None) -> dict[str, Any]:
        return scored(Learned.read(found), was=was).compact()

    journal.memos.score(lessons.memo_key(request), run_id, score, revise)


def _remember(journal: Journal, key: str, revise: Revise) -> Learned:
    data = journal.memos.change(key, lambda found: revise(Learned.read(found)).compact())
    return Learned.read(data)
