"""Fallback chains with a memory: read before they decide, written after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from agents.patterns.fallback import learned as memory
from agents.patterns.fallback import pattern
from agents.patterns.fallback.learned import Learned
from agents.plan import Expand, MemberState
from app.journal import Journal
from celery_agents.contracts.outcome import Outcome
from celery_agents.contracts.patterns import Fallback
from celery_agents.errors import AllCandidatesFailedError

Advance = Callable[..., Expand | Outcome]


def with_memory(
    journal: Journal, request: Fallback, members: Sequence[MemberState], advance: Advance
) -> Expand | Outcome:
    """``advance(learned=...)`` by what the chain has learned, which then learns from it."""
    begun = partial(memory.with_request, request=request)
    known = _remember(journal, request, (lambda m: m) if members else begun)
    ended = partial(memory.with_attempts, request=request, members=members, at=known.requests)
    try:
        plan = advance(learned=known)
    except AllCandidatesFailedError:
        _remember(journal, request, ended)
        raise
    if isinstance(plan, Outcome):
        _remember(journal, request, ended)
    elif pattern.hedges(plan):
        _remember(journal, request, memory.with_hedge)
    return plan


def _remember(journal: Journal, request: Fallback, revise: Callable[[Learned], Learned]) -> Learned:
    data = journal.memos.change(
        memory.memo_key(request), lambda found: revise(Learned.read(found)).compact()
    )
    return Learned.read(data)
