"""Patterns with a memory: read before they decide, written after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from agents.patterns.fallback import learned as memory
from agents.patterns.fallback import pattern
from agents.patterns.fallback.learned import Learned
from agents.patterns.solve import lessons
from agents.patterns.vote import records
from agents.plan import Expand, MemberState
from app.journal import Journal
from app.journal.schema.rows import NewMemory
from celery_agents.contracts.experience import Experienced
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.contracts.patterns import Fallback, Vote
from celery_agents.contracts.teams.solve import Solve, WorkLessons
from celery_agents.contracts.verdicts import VoterRecords
from celery_agents.contracts.vote import Decision
from celery_agents.errors import AllCandidatesFailedError, InvalidPayloadError

Advance = Callable[..., Expand | Outcome]
Revise = Callable[[Learned], Learned]
#: How candidates did where something similar was asked, by their keys: how often, and rewards.
Seen = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Lesson:
    """A step that is to be learned from, once it has ended."""

    new: NewMemory
    found: bool  # something similar, to be told of
    held: bool  # its run is told nothing all the same

    def of(self, outcome: Outcome, did: Mapping[str, None], *, read: bool) -> NewMemory | None:
        """Return how it went; nothing of one that was cancelled. ``read``: what others wrote."""
        if outcome.state is State.CANCELLED:
            return None
        told = Experienced(
            did=tuple(sorted(did)),
            reward=float(outcome.ok),
            cost_usd=outcome.usage.cost_usd,
            found=self.found,
            held=self.held,
        )
        return replace(self.new, experience=told, trust=1 if read else 2)


def with_memory(
    journal: Journal,
    request: Fallback,
    members: Sequence[MemberState],
    advance: Advance,
    *,
    seen: Seen | None = None,
) -> Expand | Outcome:
    """``advance(learned=...)`` by what the chain has learned, which then learns from it.

    And by what was ``seen`` of its candidates where something similar was asked.
    """
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
        plan = advance(learned=memory.with_experience(known, seen or {}))
    except AllCandidatesFailedError:
        _remember(journal, key, ended)
        raise
    if isinstance(plan, Outcome):
        _remember(journal, key, ended)
    elif pattern.hedges(plan):
        _remember(journal, key, memory.with_hedge)
    return plan


def with_lessons(
    journal: Journal,
    request: Solve,
    members: Sequence[MemberState],
    advance: Advance,
    *,
    seen: Seen | None = None,
) -> Expand | Outcome:
    """``advance(learned=...)`` by what was learned of the strategies, which then learn from it."""
    key = lessons.memo_key(request)
    known = _remember(journal, key, (lambda m: m) if members else lessons.with_request)
    plan = advance(learned=memory.with_experience(known, seen or {}))
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

    Of another run, what memories have learned from it.

    Raises:
        InvalidPayloadError: there is no such run of a vote that has decided, or that a memory has
            learned from.
    """
    found = journal.memos.voted(run_id)
    if found is None:
        if answer is None and journal.memories.judge(run_id, message_id, right=right):
            return
        raise InvalidPayloadError(
            f"There is no run {run_id} of agents.vote that has decided, nor is there one of an "
            "agent that a memory learns_from."
        )
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
