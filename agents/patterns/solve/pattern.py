"""Solving, step by step: perhaps the one who selects, then strategies until one succeeds."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from agents.asking import error_of
from agents.patterns.fallback.adaptive import Arm, draw
from agents.patterns.fallback.learned import Learned
from agents.patterns.fallback.pattern import REFUSALS
from agents.patterns.members import ask_member, panel_member
from agents.patterns.vote.options import match
from agents.plan import Expand, JoinPolicy, Member, MemberState
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.contracts.teams.solve import FailedStrategy, Solution, Solve, Strategy
from celery_agents.contracts.vote import Normalisation
from celery_agents.errors import AllCandidatesFailedError

#: The key of who selects.
SELECT = "@select"
_WHICH = "Which of these strategies suits the task that is the input? Answer with one choice."
_LOOSELY = Normalisation()


def advance(
    request: Solve,
    members: Sequence[MemberState],
    *,
    step_id: str,
    learned: Learned | None = None,
    remaining_s: float | None = None,
) -> Expand | Outcome:
    """Return the next strategy, or the solution of the first that succeeded.

    ``remaining_s`` is what is left of the time for all of them.
    """
    usage = sum((m.outcome.usage for m in members if m.outcome is not None), Usage())
    chosen = _selected(request, members)
    tried = [m for m in members if m.key != SELECT]
    won = next((m for m in tried if m.outcome is not None and m.outcome.ok), None)
    if won is not None and won.outcome is not None:
        about: Any = {"selected": won.key == chosen, "usage": usage, "failed": _failed(tried)}
        found = Solution(value=won.outcome.value, strategy=won.key, **about)
        agent = won.outcome.agent
        return Outcome(state=State.SUCCEEDED, value=found.compact(), agent=agent, usage=usage)
    late = remaining_s is not None and remaining_s <= 0
    join = JoinPolicy(kind="all", timeout_s=remaining_s)
    if request.select is not None and not members and not late:
        return Expand(members=(_selector(request, request.select),), join=join)
    left = _left(request, tried, chosen, learned or Learned(), step_id)
    if late or not left:
        return _exhausted(tried, usage)
    return Expand(members=(_member(request, left[0], last=len(left) == 1),), join=join)


def _left(
    request: Solve,
    tried: Sequence[MemberState],
    chosen: str | None,
    memory: Learned,
    step_id: str,
) -> list[Strategy]:
    """List the strategies that may be tried next, in order: that which was selected goes first."""
    rng = random.Random(f"{request.seed}\0{step_id}")  # noqa: S311 - repeatable, guards nothing
    arms = {one.name: memory.arms.get(one.name, Arm()) for one in request.strategies}
    half_life = request.adaptive.half_life
    luck = draw(arms, now=memory.requests, half_life=half_life, rng=rng)
    gone = {m.key for m in tried}
    left = [one for one in request.strategies if one.name not in gone]
    left.sort(key=lambda one: (one.name != chosen, -luck[one.name]))
    return left if request.tries is None else left[: max(request.tries - len(tried), 0)]


def _selected(request: Solve, members: Sequence[MemberState]) -> str | None:
    """The strategy that was selected; None where nobody did, or named none of them."""
    said = next((m.outcome for m in members if m.key == SELECT), None)
    if said is None or not said.ok:
        return None
    word = said.value.get("option") if isinstance(said.value, dict) else said.value
    return match(word, tuple(one.name for one in request.strategies), _LOOSELY)


def _selector(request: Solve, agent: str) -> Member:
    choices: JsonValue = [one.name for one in request.strategies]
    return ask_member(
        SELECT,
        agent,
        request.input,
        retry=request.retry,
        instructions=_WHICH,
        choices=choices,
    )


def _member(request: Solve, strategy: Strategy, *, last: bool) -> Member:
    """The step of a strategy. A lone agent that is refused gives way while others are left."""
    gives_way = strategy.verb == "ask" and not last and "when_open" not in strategy.options
    more: dict[str, JsonValue] = {"when_open": [*REFUSALS]} if gives_way else {}
    member = panel_member(strategy.name, strategy, request.input)
    return member.model_copy(update={"options": {**member.options, **more}})


def _failed(tried: Sequence[MemberState]) -> tuple[FailedStrategy, ...]:
    errors = ((m.key, m.outcome) for m in tried if m.outcome is None or not m.outcome.ok)
    return tuple(_why(key, outcome) for key, outcome in errors)


def _why(key: str, outcome: Outcome | None) -> FailedStrategy:
    if outcome is None or (outcome.error is None and not outcome.ok):
        return FailedStrategy(strategy=key, kind="timeout", message="It did not end in time.")
    error = error_of(outcome)
    return FailedStrategy(strategy=key, kind=error.kind, message=error.message)


def _exhausted(tried: Sequence[MemberState], usage: Usage) -> Outcome:
    failed = _failed(tried)
    errors: JsonValue = {f.strategy: {"kind": f.kind, "message": f.message} for f in failed}
    told = "; ".join(f"{f.strategy}: {f.message}" for f in failed) or "There was no time for one."
    error = AllCandidatesFailedError(f"No strategy succeeded. {told}", {"errors": errors})
    return Outcome(state=State.FAILED, error=ErrorInfo.of(error), usage=usage)
