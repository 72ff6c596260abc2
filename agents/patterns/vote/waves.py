"""The voters who are asked next: in waves as stated, or as many as a stop rule still lacks.

A stop rule saves nothing when all voters are asked at once and answer at once, and one voter at a
time takes the time of one answer for each. Between the two there is a least wave: as many as
would end the vote if they all agreed with the leader. A smaller one could not end it, so a vote in
such waves asks nobody whom one voter at a time would not have asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from agents.patterns.vote.consensus import supports
from agents.patterns.vote.decide import Undecided, boundary, verdict
from agents.patterns.vote.poll import open_poll
from agents.patterns.vote.report import electorate
from agents.patterns.vote.weights import weight
from celery_agents.contracts.vote import Ballot, ExactStop, NoStop, VotePolicy, Voter

#: An option for voters of whom nobody has said anything yet.
_ANY = "?"


def next_wave(
    policy: VotePolicy,
    ballots: Sequence[Ballot],
    asked: Sequence[Voter],
    *,
    in_time: int | None = None,
) -> list[Voter]:
    """List who is asked next: the next wave once all of the last were heard and none decided.

    Empty when a ballot is still out, all were asked, or the verdict stands. ``in_time`` is for how
    many waves there is time: a stop rule's are so large that everybody could be heard by then.
    """
    heard = {ballot.voter for ballot in ballots}
    keys = {voter.key for voter in asked}
    rest = [voter for voter in electorate(policy) if voter.key not in keys]
    if keys - heard or not rest:
        return []
    if asked and not isinstance(verdict(policy, ballots, rest), Undecided):
        return []
    if policy.waves is not None:
        return rest[: boundary(policy.waves, len(keys)) - len(keys)]
    if not by_themselves(policy):
        return rest
    hurried = 0 if in_time is None else math.ceil(len(rest) / max(in_time, 1))
    return rest[: max(missing(policy, ballots, rest), hurried)]


def by_themselves(policy: VotePolicy) -> bool:
    """Return whether the stop rule chooses the waves.

    It does when it can end a vote long before it is certain. Deliberation asks everybody.
    """
    early = not isinstance(policy.stop, NoStop | ExactStop)
    return early and policy.waves is None and not policy.deliberation


def missing(policy: VotePolicy, ballots: Sequence[Ballot], rest: Sequence[Voter]) -> int:
    """Count the voters of ``rest`` who would end the vote if they agreed; all if they could not.

    They agree on the best supported option, or on the one that was named last, for rules that
    look at the newest ballots.
    """
    least = len(rest)
    for option in _likely(policy, ballots):
        least = _least(policy, ballots, rest[:least], rest, option)
    return least


def _likely(policy: VotePolicy, ballots: Sequence[Ballot]) -> list[str]:
    named = [ballot.option for ballot in ballots if ballot.option is not None]
    if not named:
        return [(policy.choices or (_ANY,))[0]]
    poll = open_poll(policy, ballots)
    values, _ = supports(policy, poll)
    leader = poll.options[values.index(max(values))]
    return list(dict.fromkeys((leader, named[-1])))


def _least(
    policy: VotePolicy,
    ballots: Sequence[Ballot],
    among: Sequence[Voter],
    rest: Sequence[Voter],
    option: str,
) -> int:
    """The fewest of ``among`` whose votes for ``option`` end the vote; all where none do."""
    alike = [
        Ballot(voter=voter.key, option=option, weight=weight(policy, voter)) for voter in among
    ]

    def ends(count: int) -> bool:
        found = verdict(policy, [*ballots, *alike[:count]], rest[count:])
        return not isinstance(found, Undecided)

    low, high = 0, 1  # with none it does not end: grow, then halve
    while high < len(among) and not ends(high):
        low, high = high, 2 * high
    high = min(high, len(among))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if ends(middle) else (middle, high)
    return high
