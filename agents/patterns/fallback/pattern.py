"""A fallback chain, step by step."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from agents.patterns.fallback.hedge import delay_s, may_hedge
from agents.patterns.fallback.learned import Learned
from agents.patterns.fallback.order import eligible, order
from agents.patterns.members import ask_member
from agents.plan import Expand, JoinPolicy, Member, MemberState
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.fallback import Candidate
from celery_agents.contracts.outcome import Outcome, State, Usage
from celery_agents.contracts.patterns import Fallback
from celery_agents.errors import (
    AllCandidatesFailedError,
    BreakerOpenError,
    ContextExceededError,
    NotAdmittedError,
    RateLimitedError,
)

#: Strategies that need what the chain has learned.
LEARNING = frozenset({"adaptive", "hedged"})
_LONG = ContextExceededError.kind
#: Kinds of errors after which a candidate would come again without an attempt.
REFUSALS = (BreakerOpenError.kind, RateLimitedError.kind, NotAdmittedError.kind)


def advance(
    request: Fallback,
    members: Sequence[MemberState],
    *,
    step_id: str,
    learned: Learned | None = None,
    masked: Collection[str] = (),
    remaining_s: float | None = None,
) -> Expand | Outcome:
    """The next candidates, the answer of the first that succeeded, or the default.

    ``masked`` are candidates (keys) that are not to be asked now, by their open breakers;
    ``remaining_s`` is what is left of the chain's time.

    Raises:
        AllCandidatesFailedError: every candidate's error is in its details.
    """
    memory = learned or Learned()
    ended = [m for m in members if m.state.final]
    usage = sum((m.outcome.usage for m in ended if m.outcome is not None), Usage())
    winner = next((m.outcome for m in ended if m.outcome is not None and m.outcome.ok), None)
    if winner is not None:
        return Outcome(state=State.SUCCEEDED, value=winner.value, agent=winner.agent, usage=usage)
    running = [m for m in members if not m.state.final]
    late = remaining_s is not None and remaining_s <= 0
    left = _left(request, members, step_id=step_id, memory=memory, masked=masked)
    if late or not (left or running) or (running and request.strategy != "hedged"):
        return _exhausted(request, members, usage)
    if request.strategy == "hedged":
        gives_way = _gives_way(request, members, left[:1], masked)
        return _hedge(request, running, left, memory, remaining_s=remaining_s, gives_way=gives_way)
    raced = request.strategy == "parallel"
    started = left if raced else left[:1]
    gives_way = _gives_way(request, members, started, masked)
    return Expand(
        members=tuple(_member(request, c, gives_way) for c in started),
        join=JoinPolicy(kind="first" if raced else "all", timeout_s=remaining_s),
    )


def _left(
    request: Fallback,
    members: Sequence[MemberState],
    *,
    step_id: str,
    memory: Learned,
    masked: Collection[str],
) -> list[Candidate]:
    """List who may be tried next, in order. When every breaker is open, all are tried after all."""
    tried, failures = {m.key for m in members}, _failures(members)

    def ordered(hidden: Collection[str]) -> list[Candidate]:
        return eligible(
            order(request, step_id, arms=memory.arms, now=memory.requests, masked=hidden),
            tried=tried,
            failures=failures,
        )

    return ordered(masked) or ordered(())


def exceeded(members: Sequence[MemberState]) -> int | None:
    """Tokens that the largest model takes for which the question was too long; None: for none."""
    errors = (m.outcome.error for m in members if m.outcome is not None)
    found = [e.details.get("context_tokens") for e in errors if e is not None and e.kind == _LONG]
    return max((n for n in found if isinstance(n, int)), default=None)


def _failures(members: Sequence[MemberState]) -> set[str]:
    """The kinds of all errors so far."""
    outcomes = (m.outcome for m in members)
    return {o.error.kind for o in outcomes if o is not None and o.error is not None}


def _gives_way(
    request: Fallback,
    members: Sequence[MemberState],
    started: Sequence[Candidate],
    masked: Collection[str],
) -> JsonValue:
    """List the refusals at which those who start now fail at once, as somebody can take over.

    The last one waits. Nobody waits for a candidate that is masked now, unless all are.
    """
    hidden = () if all(c.key in masked for c in started) else masked
    gone = {m.key for m in members} | {c.key for c in started} | set(hidden)
    rest = [c for c in request.candidates if c.key not in gone]
    failures = _failures(members)
    found: list[JsonValue] = [
        kind for kind in REFUSALS if eligible(rest, failures={*failures, kind})
    ]
    return "fail" if len(found) == len(REFUSALS) else found or None


def _hedge(
    request: Fallback,
    running: Sequence[MemberState],
    left: Sequence[Candidate],
    memory: Learned,
    *,
    remaining_s: float | None,
    gives_way: JsonValue,
) -> Expand:
    """Start the next candidate beside a slow one while the share of hedges allows it; else wait."""
    beside = [_again(request, m) for m in running]
    if running and (not left or not may_hedge(memory.counts(), request.hedge)):
        return Expand(members=tuple(beside), join=JoinPolicy(kind="first", timeout_s=remaining_s))
    started = _member(request, left[0], gives_way)
    wait = delay_s(memory.digest(started.key), request.hedge) if len(left) > 1 else remaining_s
    last = wait is None or (remaining_s is not None and wait >= remaining_s)
    return Expand(
        members=(*beside, started),
        join=JoinPolicy(kind="first", timeout_s=remaining_s if last else wait, keep=not last),
        note={"hedge": started.key} if running else None,
    )


def hedges(plan: Expand | Outcome) -> bool:
    """Return whether this plan starts a hedge, which counts against their share."""
    return isinstance(plan, Expand) and bool(plan.note and "hedge" in plan.note)


def _again(request: Fallback, member: MemberState) -> Member:
    """List a running candidate again, so that the new round counts it."""
    return _member(request, next(c for c in request.candidates if c.key == member.key), None)


def _member(request: Fallback, candidate: Candidate, gives_way: JsonValue) -> Member:
    return ask_member(
        candidate.key,
        candidate.agent,
        request.input,
        retry=request.retry,
        deadline_s=candidate.timeout_s,
        instructions=request.instructions,
        answer_schema=request.answer_schema,
        when_open=gives_way,
        compensation=candidate.compensation,
    )


def _exhausted(request: Fallback, members: Sequence[MemberState], usage: Usage) -> Outcome:
    if request.default is not None:
        return Outcome(state=State.SUCCEEDED, value=request.default.value, usage=usage)
    raise _all_failed(members)


def _all_failed(members: Sequence[MemberState]) -> AllCandidatesFailedError:
    errors: dict[str, JsonValue] = {
        m.key: (
            m.outcome.error.model_dump(mode="json", include={"kind", "message"})
            if m.outcome is not None and m.outcome.error is not None
            else {"kind": "timeout", "message": "did not end in time"}
        )
        for m in members
    }
    told = "; ".join(
        f"{key}: {error['message']}" for key, error in errors.items() if isinstance(error, dict)
    )
    return AllCandidatesFailedError(
        f"All {len(errors)} candidates failed. {told}", {"errors": errors}
    )
