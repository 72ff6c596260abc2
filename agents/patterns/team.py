"""A team, step by step: its lead's turn, then the report of all that were asked below it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, TypeAdapter

from agents.asking import error_of
from agents.patterns.members import ask_member, let_go
from agents.personality import TRAITS
from agents.plan import Expand, JoinPolicy, Member, MemberState
from celery_agents.contracts.base import JsonValue, read_as
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.contracts.teams.spec import (
    MEMBERS_MAX,
    SPEC_NAME,
    AgentSpec,
    check_team,
    with_members,
)
from celery_agents.contracts.teams.team import PARTS_MAX, Team, TeamPart, TeamReport
from celery_agents.errors import (
    AgentFailedError,
    AgentsError,
    DeadlineExceededError,
    InvalidPayloadError,
)

#: Keys of the lead's turn, and of that of whoever says the members.
LEAD, PICKER = "lead", "@members"


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
    base: str | None = None
    same_as: str | None = None


@dataclass(frozen=True, slots=True)
class Staff:
    """The registered agents, as far as a team is made of them.

    ``check`` raises where a spec is more than its base can be. ``bases`` are those of which the
    members may be that an agent chooses, with what is told of them; None: any.
    """

    check: Callable[[Sequence[AgentSpec]], None] = lambda _: None
    bases: tuple[str, ...] | None = None
    told: str = ""


def advance(
    request: Team,
    members: Sequence[MemberState],
    *,
    turned: Callable[[], Sequence[Turned]],
    staff: Staff | None = None,
    remaining_s: float | None = None,
) -> Expand | Outcome:
    """Return the turn of whoever says the members, then the lead's; at last the report.

    Where the lead failed, so has the team, and the report is in the details of its error.
    ``turned`` gives the steps below, from the lead on.
    """
    known, staff = {m.key: m for m in members}, staff or Staff()
    picks = isinstance(request.members, str)
    if picks and PICKER not in known:
        return _asking(_picker(request, staff), remaining_s)
    if LEAD not in known:
        try:
            team = _chosen(known[PICKER], staff) if picks else _given(request)
            staff.check(team)
        except AgentsError as error:
            return Outcome(state=State.FAILED, error=ErrorInfo.of(error), usage=_usage(members))
        return _asking(_lead(request, team), remaining_s)
    return _ended(request, known[LEAD], _usage(members), turned)


def _asking(member: Member, remaining_s: float | None) -> Expand:
    return Expand(members=(member,), join=JoinPolicy(kind="all", timeout_s=remaining_s))


def _usage(members: Sequence[MemberState]) -> Usage:
    return sum((m.outcome.usage for m in members if m.outcome is not None), Usage())


def _given(request: Team) -> tuple[AgentSpec, ...]:
    return () if isinstance(request.members, str) else request.members


def _lead(request: Team, members: Sequence[AgentSpec]) -> Member:
    """The lead's turn. Its members stand in its row, as a spec of itself."""
    spec = AgentSpec(base=request.lead, members=tuple(members)) if members else None
    member = ask_member(
        LEAD,
        request.lead,
        request.input,
        retry=request.retry,
        instructions=request.instructions,
        answer_schema=request.answer_schema,
        compensation=request.compensation,
        spec=None if spec is None else spec.compact(),
    )
    if request.repeats == "ask":
        return member
    return member.model_copy(update={"options": member.options | {"repeats": {}}})


def _picker(request: Team, staff: Staff) -> Member:
    assert isinstance(request.members, str)
    base: dict[str, JsonValue] = {"type": "string"}
    if staff.bases is not None:
        base["enum"] = [*staff.bases]
    return ask_member(
        PICKER,
        request.members,
        request.input,
        retry=request.retry,
        instructions=f"{_WHO}{staff.told}",
        answer_schema={"type": "array", "maxItems": MEMBERS_MAX, "items": _spec_schema(base)},
    )


_WHO = (
    "Choose who is to work on the task that is the input: a list of members. Each is made of one "
    "of the agents below, for this task alone: give it a name of its own where you use one twice, "
    "and instructions, traits and fewer tools where that helps.\n"
)


def _spec_schema(base: dict[str, JsonValue]) -> dict[str, JsonValue]:
    text: JsonValue = {"type": "string"}
    words: JsonValue = {"type": "array", "items": text}
    return {
        "type": "object",
        "properties": {
            "base": base,
            "name": {"type": "string", "pattern": SPEC_NAME},
            "description": text,
            "instructions": text,
            "traits": {"type": "array", "items": {"type": "string", "enum": [*sorted(TRAITS)]}},
            "tools": words,
        },
        "required": ["base"],
        "additionalProperties": False,
    }


def _chosen(picker: MemberState, staff: Staff) -> tuple[AgentSpec, ...]:
    """Read the members that an agent has said.

    Raises:
        AgentFailedError: it failed.
        InvalidPayloadError: they are no list of specs, or of others than it may choose.
    """
    outcome = picker.outcome
    if outcome is None or not outcome.ok:
        error = _LATE if outcome is None or let_go(picker) else error_of(outcome)
        raise AgentFailedError(f"Nobody said the members: {error.message}")
    chosen = read_as(_MEMBERS, outcome.value, "members")
    for spec in with_members(chosen):
        if staff.bases is not None and spec.base not in staff.bases:
            raise InvalidPayloadError(f"members: {spec.base!r} is none that may be chosen.")
    return chosen


def _team_of(members: tuple[AgentSpec, ...]) -> tuple[AgentSpec, ...]:
    check_team(members)
    return members


_MEMBERS: TypeAdapter[tuple[AgentSpec, ...]] = TypeAdapter(
    Annotated[tuple[AgentSpec, ...], AfterValidator(_team_of)]
)


def _ended(
    request: Team,
    lead: MemberState,
    usage: Usage,
    turned: Callable[[], Sequence[Turned]],
) -> Outcome:
    outcome, told = lead.outcome, parts(turned())
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
    error = _LATE if outcome is None or let_go(lead) else error_of(outcome)
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
    asking, same = known.get(one.parent_id), known.get(one.same_as or "")
    return TeamPart(
        step_id=one.id,
        agent=one.who,
        base=one.base,
        same_as=same.id if same is not None and same.state is State.SUCCEEDED else None,
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
