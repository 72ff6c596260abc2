"""Caches as people see them: how they stand, and forgetting answers."""

from __future__ import annotations

from agents.catalog.registry import Registry
from app.caching.semantic import read_audit
from app.caching.shared import SharedAnswers
from app.journal.stores.memos import Memos
from celery_agents.contracts.caching import CacheState, SemanticPolicy

#: Keys that one script forgets: Redis serves nobody else meanwhile.
FORGOTTEN_MAX = 200


def states(answers: SharedAnswers, registry: Registry, memos: Memos) -> list[CacheState]:
    """How the cached answers of each agent and tool stand. Blocks for some round trips."""
    found = {state.name: state for state in answers.states().result()}
    for agent in registry:
        if agent.cache is not None and (semantic := agent.cache.semantic) is not None:
            state = found.get(agent.name, CacheState(name=agent.name))
            found[agent.name] = _audited(state, semantic, memos)
    return [found[name] for name in sorted(found)]


def forget(answers: SharedAnswers, name: str | None) -> int:
    """Forget the answers of an agent, or of ``tool:NAME``, or all; returns how many."""
    gone, keys = 0, [*answers.keys_of(name)]
    for begin in range(0, len(keys), FORGOTTEN_MAX):
        gone += answers.forget(keys[begin : begin + FORGOTTEN_MAX]).result()
    return gone


def _audited(state: CacheState, policy: SemanticPolicy, memos: Memos) -> CacheState:
    audit = read_audit(memos, state.name, policy)
    proving = audit.compared < policy.proving
    semantic = "off" if audit.off else "proving" if proving else "on"
    told = {"compared": audit.compared, "wrong": audit.wrong, "semantic": semantic}
    return state.model_copy(update=told)
