"""The members of patterns: one agent's turn, as a step."""

from __future__ import annotations

from collections.abc import Sequence

from agents.plan import Member, MemberState
from celery_agents import names
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.caching import CacheUse
from celery_agents.contracts.compensation import Compensated, Compensation
from celery_agents.contracts.outcome import State
from celery_agents.contracts.policies import RetryPolicy
from celery_agents.contracts.teams.solve import Strategy
from celery_agents.contracts.vote import Voter


def ask_member(
    key: str,
    agent: str,
    told: JsonValue,
    *,
    retry: RetryPolicy,
    deadline_s: float | None = None,
    compensation: Compensated = None,
    **options: JsonValue,
) -> Member:
    """A member that asks an agent; ``options`` are those of ``agents.ask``."""
    return Member(
        key=key,
        task=names.ASK,
        agent=agent,
        input=told,
        options=given(
            agent=agent,
            retry=retry.compact(),
            deadline_s=deadline_s,
            compensation=_written(compensation),
            **options,
        ),
        max_attempts=retry.max_attempts,
        deadline_s=deadline_s,
    )


_TASKS = {
    "ask": names.ASK,
    "fallback": names.FALLBACK,
    "vote": names.VOTE,
    "gather": names.GATHER,
}


def panel_member(
    key: str, strategy: Strategy, told: JsonValue, *, deadline_s: float | None = None
) -> Member:
    """A member that puts an input to what a strategy asks: an agent, a vote, a chain, many.

    ``deadline_s``: of it and its own time the shorter one holds.
    """
    asked = strategy.request
    whole = [s for s in (deadline_s, asked.whole_s) if s is not None]
    return Member(
        key=key,
        task=_TASKS[strategy.verb],
        agent=getattr(asked, "agent", None),
        input=told,
        options=dict(strategy.options),
        max_attempts=asked.retry.max_attempts,
        deadline_s=min(whole, default=None),
    )


def let_go(member: MemberState) -> bool:
    """Return whether it did not end by itself: its time, or its pattern's, was over."""
    return member.state not in {State.SUCCEEDED, State.FAILED, State.DEAD}


def sampled(one: Voter, among: Sequence[Voter]) -> CacheUse | None:
    """The use of the cache for a member: none, where its agent is asked several times.

    Its samples are to be as many answers, and not one of them so often.
    """
    return "off" if sum(other.agent == one.agent for other in among) > 1 else None


def _written(compensation: Compensated) -> JsonValue:
    return compensation.compact() if isinstance(compensation, Compensation) else compensation


def given(**options: JsonValue) -> dict[str, JsonValue]:
    """Options without those that say nothing."""
    return {k: v for k, v in options.items() if v not in (None, {})}
