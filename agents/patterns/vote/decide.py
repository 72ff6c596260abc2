"""The verdict on a vote so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agents.patterns.vote.consensus import supports
from agents.patterns.vote.poll import open_poll
from agents.patterns.vote.report import Interim, decision, electorate, standing
from agents.patterns.vote.rules import possible
from agents.patterns.vote.stop import enough
from celery_agents.contracts.vote import (
    Ballot,
    Deadlocked,
    Decision,
    NoStop,
    VotePolicy,
    Voter,
    Waves,
)


@dataclass(frozen=True, slots=True)
class Undecided:
    """More ballots are needed."""


@dataclass(frozen=True, slots=True)
class Decided:
    """The vote has its answer; ballots that are still out need not be waited for."""

    decision: Decision


@dataclass(frozen=True, slots=True)
class Deadlock:
    """There is no answer, and no more ballots can bring one. ``decision`` is what is known."""

    reason: Deadlocked
    decision: Decision


Verdict = Undecided | Decided | Deadlock


def outstanding(policy: VotePolicy, ballots: Sequence[Ballot]) -> list[Voter]:
    """List who may still vote: those asked but silent, then those not yet asked, as stated."""
    heard = {ballot.voter for ballot in ballots}
    return [voter for voter in electorate(policy) if voter.key not in heard]


def verdict(
    policy: VotePolicy, ballots: Sequence[Ballot], outstanding: Sequence[Voter] = ()
) -> Verdict:
    """Return the verdict on the vote so far.

    ``ballots`` are those of everybody who was heard or given up (abstentions included), in order
    of arrival; ``outstanding`` are all who may still vote, asked or not. With none outstanding
    the verdict is final. Ballots ``skipped`` because of an earlier verdict count as outstanding
    when it is told what stopped the vote.
    """
    now = standing(policy, ballots)
    late = [*outstanding, *_skipped(policy, ballots)]
    stopped_by = _stopped_by(policy, ballots, late, now) if late else "all"
    if stopped_by is None:
        if outstanding:
            return Undecided()
        stopped_by = "closed"
    found = decision(policy, ballots, now, stopped_by=stopped_by)
    return Decided(found) if now.deadlock is None else Deadlock(now.deadlock, found)


def decided(policy: VotePolicy, ballots: Sequence[Ballot], remaining: Sequence[Voter]) -> bool:
    """Return whether no ballots of the remaining voters can change how the vote ends.

    They may vote for anything or abstain. It ends with the same answer every time, or every time
    without one. Exact for plurality, weighted, approval, the threshold rules and Borda (for
    Borda, that there is no answer is told by a bound); for instant runoff and Schulze see there:
    it may come late, never wrongly.
    """
    return len(_ends(policy, ballots, remaining)) == 1


def _ends(
    policy: VotePolicy, ballots: Sequence[Ballot], remaining: Sequence[Voter]
) -> frozenset[str | None]:
    """Return every answer with which the vote may end, None for a deadlock; never too few."""
    poll = open_poll(policy, ballots, remaining)
    support, per = supports(policy, poll)
    quorum = policy.quorum.needed(len(electorate(policy)))
    against = poll.open if len(poll.options) > 1 else 0
    supported = dict(zip(poll.options, support, strict=True))
    most = policy.min_consensus * per * (poll.cast + poll.open)
    least = policy.min_consensus * per * (poll.cast + against)
    ends: set[str | None] = set()
    for winner in possible(policy, poll):
        if winner is None:
            ends.add(None)
            continue
        mine = supported[winner]
        if poll.heads + len(remaining) >= quorum and mine + per * poll.open >= most:
            ends.add(winner)
        if poll.heads < quorum or mine < least:
            ends.add(None)
    return frozenset(ends)


def _stopped_by(
    policy: VotePolicy, ballots: Sequence[Ballot], late: Sequence[Voter], now: Interim
) -> str | None:
    """Name what stops the vote while voters are late, or return None."""
    if isinstance(policy.stop, NoStop):
        return "wave" if _complete_wave(policy, ballots) and now.deadlock is None else None
    if decided(policy, ballots, late):
        return "exact"
    if now.winner is not None and now.deadlock is None and enough(policy, ballots, now.winner):
        return policy.stop.kind
    return None


def _skipped(policy: VotePolicy, ballots: Sequence[Ballot]) -> list[Voter]:
    keys = {ballot.voter for ballot in ballots if ballot.abstained == "skipped"}
    return [voter for voter in policy.voters if voter.key in keys] if keys else []


def _complete_wave(policy: VotePolicy, ballots: Sequence[Ballot]) -> bool:
    heard = sum(ballot.abstained != "skipped" for ballot in ballots)
    return policy.waves is not None and heard > 0 and boundary(policy.waves, heard - 1) == heard


def boundary(waves: Waves, asked: int) -> int:
    """How many voters were asked when the wave after ``asked`` voters has gone out."""
    total = 0
    for size in waves.sizes:
        total += size
        if total > asked:
            return total
    return total + ((asked - total) // size + 1) * size
