"""The few ways in which a ranked vote can still end, tried one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations_with_replacement, permutations, product
from math import comb, perm

from agents.patterns.vote.poll import Poll, Result
from celery_agents.contracts.vote import Confidence, VotePolicy

_MOST = 64  # remainders that are tried: a millisecond or so
_MOST_OPTIONS = 4  # five options have 206 ballots

Vote = tuple[tuple[int, ...], int]


def every_end(
    policy: VotePolicy, poll: Poll, count: Callable[[list[Vote]], Result]
) -> frozenset[str | None] | None:
    """The exact set of winners over all remaining ballots; None when there are too many to try.

    ``count`` counts what was cast together with such ballots.
    Confidence makes any weight possible, so these are not tried.
    """
    many = len(poll.options) > _MOST_OPTIONS or len(poll.pending) > _MOST
    if many or isinstance(policy.weights, Confidence) or _count(poll) > _MOST:
        return None
    return frozenset(count(extra).winner for extra in _remainders(poll))


def _lengths(options: int) -> range:
    """Ranking all options says no more than ranking all but one."""
    return range(1, max(options, 2))


def _count(poll: Poll) -> int:
    options, voters = len(poll.options), len(poll.pending)
    ballots = 1 + sum(perm(options, length) for length in _lengths(options))
    if len(set(poll.pending)) == 1:
        return comb(ballots + voters - 1, voters)
    return int(ballots**voters)


def _remainders(poll: Poll) -> Iterator[list[Vote]]:
    options = range(len(poll.options))
    ballots = [
        (),
        *(one for length in _lengths(len(options)) for one in permutations(options, length)),
    ]
    alike = len(set(poll.pending)) == 1
    voters = len(poll.pending)
    hands = (
        combinations_with_replacement(ballots, voters) if alike else product(ballots, repeat=voters)
    )
    for hand in hands:
        yield [(one, weight) for one, weight in zip(hand, poll.pending, strict=True) if one]
