"""A vote, step by step: waves of voters, then a decision, or whoever it is escalated to."""

from __future__ import annotations

from collections.abc import Sequence

from agents.patterns.fallback import ask_options
from agents.voting import (
    Deadlock,
    Decided,
    Undecided,
    answer_schema,
    ballot,
    ballot_of,
    missing,
    next_wave,
    settled_by,
    verdict,
)
from agents.voting.report import electorate
from app.plan import Expand, JoinPolicy, Member, MemberState
from celery_agents import names
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.contracts.patterns import Vote
from celery_agents.contracts.vote import Ballot, Decision, Plurality, Supervisor, Voter
from celery_agents.errors import NoDecisionError

SUPERVISOR = "supervisor"


def advance(request: Vote, members: Sequence[MemberState]) -> Expand | Outcome:
    """The next wave, the decision, or the supervisor's turn.

    A vote without a decision is a failed outcome of kind ``no_decision`` with the tally.
    """
    usage = sum((m.outcome.usage for m in members if m.outcome is not None), Usage())
    asked = _asked(request, members)
    heard = ballots(request, members)
    last = next((m for m in members if m.key == SUPERVISOR), None)
    if last is None:
        wave = next_wave(request, heard, asked)
        if wave:
            return _wave(request, wave)
    found = _close(request, asked, heard)
    if isinstance(found, Decided):
        return _decided(found.decision, usage)
    if last is not None:
        return _settled(request, found, last, usage)
    if isinstance(request.escalate, Supervisor):
        return _escalate(request, request.escalate, found.decision)
    return _failed(found, usage)


def decided(request: Vote, members: Sequence[MemberState]) -> bool:
    """Whether the rest of the voters cannot matter (the join policy ``decided``)."""
    heard = ballots(request, members)
    keys = {b.voter for b in heard}
    rest = [v for v in electorate(request) if v.key not in keys]
    return not isinstance(verdict(request, heard, rest), Undecided)


def ballots(request: Vote, members: Sequence[MemberState]) -> list[Ballot]:
    """The ballots of the voters who ended, without those who were let go."""
    voters = {v.key: v for v in request.voters}
    return [
        ballot_of(request, voters[m.key], m.outcome)
        for m in members
        if m.key in voters
        and m.outcome is not None
        and m.state not in {State.SKIPPED, State.CANCELLED}
    ]


def _asked(request: Vote, members: Sequence[MemberState]) -> list[Voter]:
    keys = {m.key for m in members}
    return [v for v in request.voters if v.key in keys]


def _close(request: Vote, asked: Sequence[Voter], heard: list[Ballot]) -> Decided | Deadlock:
    """The verdict, when nobody else will be asked or waited for."""
    keys = {b.voter for b in heard}
    silent = [v for v in asked if v.key not in keys]
    never = [v for v in electorate(request) if v not in asked]
    let_go = [Ballot(voter=v.key, abstained="skipped") for v in silent]
    found = verdict(request, [*heard, *let_go], never)
    if silent and not _stands(request, heard, [*silent, *never]):
        # Not let go by a verdict: their time ran out.
        found = verdict(request, [*heard, *(missing(v) for v in silent)], ())
    if isinstance(found, Undecided):
        found = verdict(request, [*heard, *let_go], ())
    assert not isinstance(found, Undecided)  # nobody is outstanding
    return found


def _stands(request: Vote, heard: list[Ballot], rest: list[Voter]) -> bool:
    return not isinstance(verdict(request, heard, rest), Undecided)


def _wave(request: Vote, voters: Sequence[Voter]) -> Expand:
    stops = request.stop.kind != "none"
    return Expand(
        members=tuple(_member(request, v) for v in voters),
        join=JoinPolicy(kind="decided" if stops else "all", timeout_s=request.timeout_s),
    )


def _member(request: Vote, voter: Voter) -> Member:
    free = request.rule.ballot == "option"
    return Member(
        key=voter.key,
        task=names.ASK,
        agent=voter.agent,
        input=request.input,
        options=ask_options(
            agent=voter.agent,
            retry=request.retry.compact(),
            deadline_s=request.voter_timeout_s,
            instructions=request.instructions,
            choices=list(request.choices) if free and request.choices else None,
            answer_schema=None if free else answer_schema(request),
        ),
        max_attempts=request.retry.max_attempts,
        deadline_s=request.voter_timeout_s,
    )


def _escalate(request: Vote, to: Supervisor, known: Decision) -> Expand:
    """The supervisor gets the question and the ballots, and answers with one of the options."""
    told: JsonValue = {
        "question": request.input,
        "choices": list(request.choices) if request.choices else None,
        "ballots": [
            {
                "voter": b.voter,
                "option": b.option if b.option is not None else list(b.choices) or None,
                "confidence": b.confidence,
                "reason": b.reason,
            }
            for b in known.ballots
        ],
        "deadlock": known.deadlock,
    }
    common: dict[str, JsonValue] = {
        "retry": request.retry.compact(),
        "instructions": request.instructions,
    }
    chain = to.backups
    options = (
        ask_options(candidates=[to.agent, *chain], **common)
        if chain
        else ask_options(
            agent=to.agent, choices=list(request.choices) if request.choices else None, **common
        )
    )
    supervisor = Member(
        key=SUPERVISOR,
        task=names.FALLBACK if chain else names.ASK,
        agent=None if chain else to.agent,
        input=told,
        options=options,
        max_attempts=request.retry.max_attempts,
    )
    return Expand(
        members=(supervisor,),
        join=JoinPolicy(kind="all", timeout_s=request.timeout_s),
        note={"why": known.deadlock, "to": to.agent},
    )


def _settled(request: Vote, found: Deadlock, supervisor: MemberState, usage: Usage) -> Outcome:
    """The supervisor's word, when it gave one that counts."""
    if supervisor.outcome is None or not supervisor.outcome.ok:
        return _failed(found, usage)
    word = ballot(
        request.model_copy(update={"rule": Plurality()}),  # one option, whatever the voters gave
        Voter(agent=SUPERVISOR),
        supervisor.outcome.value,
    )
    if word.option is None:
        return _failed(found, usage)
    decision = settled_by(
        request,
        found.decision,
        word.option,
        by="supervisor",
        reason=word.reason,
        usage=supervisor.outcome.usage,
    )
    return _decided(decision, usage)


def _decided(decision: Decision, usage: Usage) -> Outcome:
    return Outcome(state=State.SUCCEEDED, value=decision.compact(), usage=usage)


def _failed(found: Deadlock, usage: Usage) -> Outcome:
    error = NoDecisionError(
        f"The vote ended without a decision ({found.reason}).",
        {"decision": found.decision.compact()},
    )
    return Outcome(state=State.FAILED, error=ErrorInfo.of(error), usage=usage)
