"""A team, step by step: its lead's turn, then the report of all that were asked below it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from agents.asking import error_of
from agents.patterns.members import ask_member, let_go
from agents.plan import Expand, JoinPolicy, MemberState
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.contracts.teams.team import PARTS_MAX, Team, TeamPart, TeamReport
from celery_agents.errors import DeadlineExceededError

LEAD = "lead"


@dataclass(frozen=True, slots=True)
class Turned:
    """A step below a team, as the journal has it; its usage is with all below it."""

    id: str
    parent_id: str
    who: str
    task: str
    state: State
    error: str | None
    usage: Usage | None
    duration_s: float | None
    depth: int


def advance(
    request: Team,
    members: Sequence[MemberState],
    *,
    turned: Callable[[], Sequence[Turned]],
    remaining_s: float | None = None,
) -> Expand | Outcome:
    """Return the lead's turn; once that has ended, the report.

    Where the lead failed, so has the team, and the report is in the details of its error.
    ``turned`` gives the steps below, from the lead on.
    """
    if not members:
        lead = ask_member(
            LEAD,
            request.lead,
            request.input,
            retry=request.retry,
            instructions=request.instructions,
            answer_schema=request.answer_schema,
            compensation=request.compensation,
        )
        return Expand(members=(lead,), join=JoinPolicy(kind="all", timeout_s=remaining_s))
    outcome = members[0].outcome
    usage = Usage() if outcome is None else outcome.usage
    told = parts(turned())
    found = TeamReport(
        value=None if outcome is None else outcome.value,
        agent=request.lead if outcome is None else outcome.agent,
        usage=usage,
        parts=told[:PARTS_MAX],
        left_out=max(len(told) - PARTS_MAX, 0),
    )
    if outcome is not None and outcome.ok:
        about = {"agent": found.agent, "usage": usage}
        return Outcome(state=State.SUCCEEDED, value=found.compact(), **about)
    error = _LATE if outcome is None or let_go(members[0]) else error_of(outcome)
    details = {**error.details, "report": found.compact()}
    failed = error.model_copy(update={"details": details})
    return Outcome(state=State.FAILED, error=failed, usage=usage)


_LATE = ErrorInfo.of(DeadlineExceededError("The time was over before the lead had answered."))


def parts(turned: Iterable[Turned]) -> tuple[TeamPart, ...]:
    """Tell who did what, each at its own cost: less that of those whom it asked."""
    known = {one.id: one for one in turned}
    below: dict[str, list[Usage]] = {}
    for one in known.values():
        if one.usage is not None:
            below.setdefault(one.parent_id, []).append(one.usage)
    return tuple(_part(one, known, below.get(one.id, ())) for one in known.values())


def _part(one: Turned, known: Mapping[str, Turned], below: Sequence[Usage]) -> TeamPart:
    asking = known.get(one.parent_id)
    return TeamPart(
        step_id=one.id,
        agent=one.who,
        asked_by=None if asking is None else asking.who,
        depth=one.depth,
        task=one.task,
        state=one.state,
        error=one.error,
        usage=_own(one.usage or Usage(), sum(below, Usage())),
        duration_s=one.duration_s,
    )


def _own(whole: Usage, below: Usage) -> Usage:
    """Return the rest of a usage. That of a step that failed may not have what is below it."""
    if whole.calls < below.calls:
        return whole
    cost = None
    if whole.cost_usd is not None and below.cost_usd is not None:
        cost = max(whole.cost_usd - below.cost_usd, 0.0)
    return Usage(
        calls=whole.calls - below.calls,
        input_tokens=max(whole.input_tokens - below.input_tokens, 0),
        output_tokens=max(whole.output_tokens - below.output_tokens, 0),
        cached_tokens=max(whole.cached_tokens - below.cached_tokens, 0),
        cost_usd=cost,
        saved_usd=max(whole.saved_usd - below.saved_usd, 0.0),
    )
