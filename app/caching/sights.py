"""Caches as people see them: how they stand, and forgetting answers."""

from __future__ import annotations

from app.caching.shared import SharedAnswers
from celery_agents.contracts.caching import CacheState

#: Keys that one script forgets: Redis serves nobody else meanwhile.
FORGOTTEN_MAX = 200


def states(answers: SharedAnswers) -> list[CacheState]:
    """How the cached answers of each agent and tool stand. Blocks for a round trip."""
    return answers.states().result()


def forget(answers: SharedAnswers, name: str | None) -> int:
    """Forget the answers of an agent, or of ``tool:NAME``, or all; returns how many."""
    if name is None:
        return answers.forget().result()
    gone, keys = 0, [*answers.keys_of(name)]
    for begin in range(0, len(keys), FORGOTTEN_MAX):
        gone += answers.forget(keys[begin : begin + FORGOTTEN_MAX]).result()
    return gone
