"""The panel of a vote: whom to ask, in waves and in rounds of deliberation; what they answered."""

from __future__ import annotations

from collections.abc import Sequence

from agents.patterns.members import ask_member, sampled
from agents.patterns.vote import answer_schema, ballot_of
from agents.patterns.vote.deliberation import another_round, others
from agents.plan import Expand, JoinPolicy, Member, MemberState
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import State
from celery_agents.contracts.patterns import Vote
from celery_agents.contracts.vote import Ballot, Voter

_ROUND = "@round"


def _key(voter: Voter, number: int) -> str:
    return f"{voter.key}{_ROUND}{number}" if number else voter.key


def asked(request: Vote, members: Sequence[MemberState]) -> list[Voter]:
    """The voters that were asked so far."""
    keys = {m.key for m in members}
    return [v for v in request.voters if v.key in keys]


def waves(request: Vote, members: Sequence[MemberState]) -> int:
    """Count the waves in which voters were asked, deliberation aside; one at least."""
    keys = {v.key for v in request.voters}
    return max(len({m.round for m in members if m.key in keys}), 1)


def waves_in(
    remaining_s: float | None, request: Vote, members: Sequence[MemberState]
) -> int | None:
    """For how many waves there is time, if each takes as long as the slowest voter so far.

    None where no time is set, or none is known yet.
    """
    keys = {v.key for v in request.voters}
    slowest = max((m.elapsed_s or 0.0 for m in members if m.key in keys), default=0.0)
    return None if remaining_s is None or not slowest else int(remaining_s / slowest)


def rounds(request: Vote, members: Sequence[MemberState]) -> int:
    """Count the rounds of deliberation that began."""
    keys = {m.key for m in members}
    began = (
        n
        for n in range(request.deliberation, 0, -1)
        if any(_key(v, n) in keys for v in request.voters)
    )
    return next(began, 0)


def ballots(
    request: Vote, members: Sequence[MemberState], *, until: int | None = None
) -> list[Ballot]:
    """The newest ballot of each voter who was heard, without those who were let go.

    A voter that fails in a later round keeps its earlier ballot. With ``until`` later rounds
    do not count.
    """
    by_key = {m.key: m for m in members}
    last = request.deliberation if until is None else until
    found: list[Ballot] = []
    for voter in request.voters:
        said = [b for n in range(last + 1) if (b := _ballot(request, voter, by_key, n))]
        valid = [b for b in said if b.abstained is None]
        if said:
            found.append((valid or said)[-1])
    return found


def _ballot(
    request: Vote, voter: Voter, by_key: dict[str, MemberState], number: int
) -> Ballot | None:
    member = by_key.get(_key(voter, number))
    if member is None or member.outcome is None:
        return None
    if member.state in {State.SKIPPED, State.CANCELLED}:
        return None
    return ballot_of(request, voter, member.outcome)


def wave(request: Vote, voters: Sequence[Voter], remaining_s: float | None) -> Expand:
    """Ask these voters; with a stop rule only until the rest cannot matter any more."""
    stops = request.stop.kind != "none" and not request.deliberation
    return Expand(
        members=tuple(_member(request, v, 0, request.input) for v in voters),
        join=JoinPolicy(kind="decided" if stops else "all", timeout_s=remaining_s),
    )


def next_round(
    request: Vote,
    members: Sequence[MemberState],
    heard: Sequence[Ballot],
    remaining_s: float | None,
) -> Expand | None:
    """A round in which voters see the others' ballots; None when no more is wanted.

    There is none when all agree, or when the last round changed nothing.
    """
    done = rounds(request, members)
    before = ballots(request, members, until=done - 1) if done else None
    if not another_round(request, done, before, heard):
        return None
    cast = {b.voter for b in heard if b.abstained is None}
    voters = [v for v in request.voters if v.key in cast]
    return Expand(
        members=tuple(_member(request, v, done + 1, _discussed(request, v, heard)) for v in voters),
        join=JoinPolicy(kind="all", timeout_s=remaining_s),
        note={"round": done + 1},
    )


def _discussed(request: Vote, voter: Voter, heard: Sequence[Ballot]) -> JsonValue:
    """Return a voter's input in deliberation: the question, its own ballot, the others'."""
    own = next(b for b in heard if b.voter == voter.key)
    told: list[JsonValue] = [*others(heard, voter.key)]
    return {"question": request.input, "your_ballot": shown(own), "ballots": told}


def shown(ballot: Ballot) -> JsonValue:
    """A ballot as other agents see it."""
    return {
        "voter": ballot.voter,
        "option": ballot.option if ballot.option is not None else list(ballot.choices) or None,
        "confidence": ballot.confidence,
        "reason": ballot.reason,
    }


def _member(request: Vote, voter: Voter, number: int, told: JsonValue) -> Member:
    single = request.rule.ballot == "option"
    return ask_member(
        _key(voter, number),
        voter.agent,
        told,
        retry=request.retry,
        deadline_s=request.voter_timeout_s,
        instructions=request.instructions,
        choices=list(request.choices) if single and request.choices else None,
        answer_schema=None if single else answer_schema(request),
        compensation=voter.compensation,
        cache=sampled(voter, request.voters),
    )
