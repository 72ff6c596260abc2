"""Gathering, step by step: all agents, then perhaps a judge, then one value."""

from __future__ import annotations

from collections.abc import Sequence

from agents.patterns.gather import aggregation
from agents.patterns.members import ask_member, let_go, sampled
from agents.plan import Expand, JoinPolicy, Member, MemberState
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.gather import Aggregate, Gather
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.contracts.vote import Voter
from celery_agents.errors import AllCandidatesFailedError, BadAnswerError, DeadlineExceededError

JUDGE = "@judge"


def advance(
    request: Gather, members: Sequence[MemberState], *, remaining_s: float | None = None
) -> Expand | Outcome:
    """Return the agents' turn, the judge's turn, or the aggregate.

    Fewer than ``at_least`` answers are a failed outcome that carries each one's error.
    """
    if not members:
        return Expand(
            members=tuple(_member(request, a) for a in request.agents),
            join=JoinPolicy(kind="all", timeout_s=remaining_s),
        )
    usage = sum((m.outcome.usage for m in members if m.outcome is not None), Usage())
    by_key = {m.key: m for m in members}
    answers = [_answer(by_key.get(a.key), a.key) for a in request.agents]
    judged = by_key.get(JUDGE)
    late = remaining_s is not None and remaining_s <= 0
    if sum(o.ok for o in answers) < request.at_least:
        return _failed(answers, usage)
    if request.judge is not None and judged is None and not late:
        return _to_judge(request, request.judge, answers, remaining_s)
    if request.judge is not None and (judged is None or let_go(judged)):
        error = DeadlineExceededError("The time was over before the judge had answered.")
        return Outcome(state=State.FAILED, error=ErrorInfo.of(error), usage=usage)
    found = _aggregate(request, answers, judged)
    if len(found.used) < request.at_least:
        told = "; ".join(f"{s.member}: {s.why}" for s in found.skipped)
        unused = BadAnswerError(f"Too few answers could be used for {request.how}. {told}")
        return Outcome(state=State.FAILED, error=ErrorInfo.of(unused), usage=usage)
    return Outcome(state=State.SUCCEEDED, value=found.compact(), usage=usage)


def _aggregate(
    request: Gather, answers: Sequence[Outcome], judged: MemberState | None
) -> Aggregate:
    weights = {a.key: a.weight for a in request.agents}
    match request.how:
        case "merge":
            lists = [o for o in answers if o.ok and isinstance(o.value, list)]
            return (aggregation.merge_lists if lists else aggregation.merge_dicts)(answers)
        case "mean":
            return aggregation.mean(answers, weights)
        case "median":
            return aggregation.median(answers, weights)
        case "concat":
            return aggregation.concatenate(answers, request.separator)
        case "best":
            return aggregation.best(answers, _scores(judged))


def _answer(member: MemberState | None, key: str) -> Outcome:
    if member is None or member.outcome is None:
        return Outcome(state=State.SKIPPED, member=key)
    return member.outcome.model_copy(update={"member": key})


def _to_judge(
    request: Gather, judge: str, answers: Sequence[Outcome], remaining_s: float | None
) -> Expand:
    """The judge gets the input and the answers, and gives each a score."""
    candidates: list[JsonValue] = [{"member": o.member, "value": o.value} for o in answers if o.ok]
    names_of: dict[str, JsonValue] = {
        o.member: {"type": "number"} for o in answers if o.ok and o.member is not None
    }
    required: list[JsonValue] = [*names_of]
    schema: dict[str, JsonValue] = {
        "type": "object",
        "properties": names_of,
        "required": required,
        "additionalProperties": False,
    }
    told: JsonValue = {"question": request.input, "candidates": candidates}
    member = ask_member(JUDGE, judge, told, retry=request.retry, answer_schema=schema)
    return Expand(members=(member,), join=JoinPolicy(kind="all", timeout_s=remaining_s))


def _scores(judged: MemberState | None) -> dict[str, float]:
    """The judge's scores by member; none when it failed or answered something else."""
    value = judged.outcome.value if judged is not None and judged.outcome is not None else None
    if not isinstance(value, dict):
        return {}
    return {
        member: float(score)
        for member, score in value.items()
        if isinstance(score, int | float) and not isinstance(score, bool)
    }


def _member(request: Gather, agent: Voter) -> Member:
    return ask_member(
        agent.key,
        agent.agent,
        request.input,
        retry=request.retry,
        instructions=request.instructions,
        answer_schema=request.answer_schema,
        compensation=agent.compensation,
        cache=sampled(agent, request.agents),
    )


def _failed(answers: Sequence[Outcome], usage: Usage) -> Outcome:
    errors: dict[str, JsonValue] = {
        str(o.member): o.error.model_dump(mode="json", include={"kind", "message"})
        for o in answers
        if o.error is not None
    }
    error = AllCandidatesFailedError(
        f"Only {sum(o.ok for o in answers)} of {len(answers)} agents answered.",
        {"errors": errors},
    )
    return Outcome(state=State.FAILED, error=ErrorInfo.of(error), usage=usage)
