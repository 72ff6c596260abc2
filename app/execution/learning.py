"""Patterns with a memory: read before they decide, written after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from agents.patterns.fallback import learned as memory
from agents.patterns.fallback import pattern
from agents.patterns.fallback.learned import Learned
from agents.patterns.solve import lessons
from agents.patterns.vote import records
from agents.plan import Expand, MemberState
from app.journal import Journal
from celery_agents.contracts.outcome import Outcome
from celery_agents.contracts.patterns import Fallback, Vote
from celery_agents.contracts.teams.solve import Solve, WorkLessons
from celery_agents.contracts.verdicts import VoterRecords
from celery_agents.contracts.vote import Decision
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


def judge(journal: Journal, run_id: str, score: float, message_id: str) -> None:
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

    journal.memos.score(lessons.memo_key(request), run_id, (message_id, score), revise)


def with_records(
    journal: Journal, request: Vote, tenant: str, advance: Callable[[Vote], Expand | Outcome]
) -> Expand | Outcome:
    """``advance(vote)`` by what was measured of its voters, which then learn of its decision."""
    if not records.measured(request):
        return advance(request)
    plan = advance(records.weighed(request, voters(journal, tenant)))
    if isinstance(plan, Outcome) and plan.ok:
        decision = Decision.model_validate(plan.value)

        def revise(found: dict[str, Any]) -> dict[str, Any]:
            known = VoterRecords.model_validate(found)
            return records.decided(known, request, decision).compact()

        journal.memos.change(records.PREFIX + tenant, revise)
    return plan


def voters(journal: Journal, tenant: str) -> VoterRecords:
    """The records of a tenant's voters."""
    return VoterRecords.model_validate(journal.memos.read(records.PREFIX + tenant))


def judge_decision(
    journal: Journal, run_id: str, message_id: str, *, right: bool, answer: str | None
) -> None:
    """Let the records of voters learn whether a decision was right; the last verdict counts.

    Raises:
        InvalidPayloadError: there is no such run of a vote that has decided.
    """
    found = journal.memos.voted(run_id)
    if found is None:
        raise InvalidPayloadError(f"There is no run {run_id} of agents.vote that has decided.")
    payload, value, tenant = found
    vote = Vote.from_message(payload["args"], payload["kwargs"], known=True)
    decision = Decision.model_validate(value)

    def revise(found: dict[str, Any], was: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        known = VoterRecords.model_validate(found)
        known = records.credited(known, (was or {}).get("credits", {}), -1)
        given = records.credits_of(known, vote, decision, right=right, answer=answer)
        told = {"right": right, "credits": given}
        return records.credited(known, given, 1).compact(), told

    journal.memos.judge(records.PREFIX + tenant, run_id, message_id, revise)


def _remember(journal: Journal, key: str, revise: Revise) -> Learned:
    data = journal.memos.change(key, lambda found: revise(Learned.read(found)).compact())
    return Learned.read(data)
