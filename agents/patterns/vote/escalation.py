"""Escalation of a vote that cannot decide: a supervisor, or a person, gets the ballots."""

from __future__ import annotations

from agents.patterns.members import ask_member, given
from agents.patterns.vote import ballot, settled_by
from agents.patterns.vote.panel import shown
from agents.plan import Expand, JoinPolicy, Member, MemberState
from celery_agents import names
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import State
from celery_agents.contracts.patterns import Vote
from celery_agents.contracts.vote import DecidedBy, Decision, Person, Plurality, Supervisor, Voter

SUPERVISOR: DecidedBy = "supervisor"
PERSON: DecidedBy = "person"
#: Keys of the members that decide instead of the voters.
ASKED: dict[str, DecidedBy] = {f"@{SUPERVISOR}": SUPERVISOR, f"@{PERSON}": PERSON}


def escalation(request: Vote, known: Decision, remaining_s: float | None) -> Expand:
    """The member that decides. A person's waits in the journal and holds no worker."""
    told: dict[str, JsonValue] = {
        "question": request.input,
        "choices": list(request.choices) if request.choices else None,
        "ballots": [shown(b) for b in known.ballots],
        "deadlock": known.deadlock,
    }
    if isinstance(request.escalate, Person):
        asked = {**told, "by": [*request.escalate.by]} if request.escalate.by else told
        member = Member(key=f"@{PERSON}", task=names.APPROVAL, input=asked, options={}, waits=True)
    else:
        assert isinstance(request.escalate, Supervisor)
        member = _supervisor(request, request.escalate, told)
    return Expand(
        members=(member,),
        join=JoinPolicy(kind="all", timeout_s=remaining_s),
        note={"why": known.deadlock, "to": member.agent or member.task},
    )


def _supervisor(request: Vote, to: Supervisor, told: JsonValue) -> Member:
    if to.backups:
        options = given(
            candidates=[to.agent, *to.backups],
            retry=request.retry.compact(),
            instructions=request.instructions,
            deadline_s=request.voter_timeout_s,
        )
        return Member(
            key=f"@{SUPERVISOR}",
            task=names.FALLBACK,
            agent=to.agent,
            input=told,
            options=options,
            max_attempts=request.retry.max_attempts,
            deadline_s=request.voter_timeout_s,
        )
    return ask_member(
        f"@{SUPERVISOR}",
        to.agent,
        told,
        retry=request.retry,
        deadline_s=request.voter_timeout_s,
        instructions=request.instructions,
        choices=list(request.choices) if request.choices else None,
    )


def settled(request: Vote, known: Decision, member: MemberState) -> Decision | None:
    """The decision by whoever was asked; None when the answer is none that counts."""
    if member.state is not State.SUCCEEDED or member.outcome is None:
        return None
    # One option, whatever the voters gave.
    single = request.model_copy(update={"rule": Plurality()})
    word = ballot(single, Voter(agent=member.key), member.outcome.value)
    if word.option is None:
        return None
    return settled_by(request, known, word.option, by=ASKED[member.key], reason=word.reason)
