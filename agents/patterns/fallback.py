"""A fallback chain, step by step."""

from __future__ import annotations

from collections.abc import Sequence

from agents.fallback.order import eligible, order
from app.plan import Expand, JoinPolicy, Member, MemberState
from celery_agents import names
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.fallback import Candidate
from celery_agents.contracts.outcome import Outcome, State, Usage
from celery_agents.contracts.patterns import Fallback
from celery_agents.errors import AllCandidatesFailedError


def advance(request: Fallback, members: Sequence[MemberState], *, step_id: str) -> Expand | Outcome:
    """The next candidates, the answer of the first that succeeded, or the default.

    Raises:
        AllCandidatesFailedError: every candidate's error is in its details.
    """
    ended = [m.outcome for m in members if m.outcome is not None]
    usage = sum((o.usage for o in ended), Usage())
    winner = next((o for o in ended if o.ok), None)
    if winner is not None:
        return Outcome(state=State.SUCCEEDED, value=winner.value, agent=winner.agent, usage=usage)
    failures = {o.error.kind for o in ended if o.error is not None}
    tried = {m.key for m in members}
    candidates = eligible(order(request, step_id), tried=tried, failures=failures)
    if not candidates:
        return _exhausted(request, members, usage)
    raced = request.strategy == "parallel"
    started = candidates if raced else candidates[:1]
    return Expand(
        members=tuple(_member(request, c) for c in started),
        join=JoinPolicy(kind="first" if raced else "all", timeout_s=request.timeout_s),
    )


def _member(request: Fallback, candidate: Candidate) -> Member:
    return Member(
        key=candidate.key,
        task=names.ASK,
        agent=candidate.agent,
        input=request.input,
        options=ask_options(
            agent=candidate.agent,
            retry=request.retry.compact(),
            deadline_s=candidate.timeout_s,
            instructions=request.instructions,
            answer_schema=request.answer_schema,
        ),
        max_attempts=request.retry.max_attempts,
        deadline_s=candidate.timeout_s,
    )


def ask_options(**options: JsonValue) -> dict[str, JsonValue]:
    """The options of an ``agents.ask``, without those that say nothing."""
    return {k: v for k, v in options.items() if v not in (None, {})}


def _exhausted(request: Fallback, members: Sequence[MemberState], usage: Usage) -> Outcome:
    if request.default is not None:
        return Outcome(state=State.SUCCEEDED, value=request.default.value, usage=usage)
    raise _all_failed(members)


def _all_failed(members: Sequence[MemberState]) -> AllCandidatesFailedError:
    errors: dict[str, JsonValue] = {
        m.key: (
            m.outcome.error.model_dump(mode="json", include={"kind", "message"})
            if m.outcome is not None and m.outcome.error is not None
            else {"kind": str(m.state), "message": "did not end"}
        )
        for m in members
    }
    told = "; ".join(
        f"{key}: {error['message']}" for key, error in errors.items() if isinstance(error, dict)
    )
    return AllCandidatesFailedError(
        f"All {len(errors)} candidates failed. {told}", {"errors": errors}
    )
