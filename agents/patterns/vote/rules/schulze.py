"""Schulze's method: the strongest chains of pairwise wins.

M. Schulze, "A new monotonic, clone-independent, reversal symmetric, and Condorcet-consistent
single-winner election method", Social Choice and Welfare 36 (2011); links are measured by winning
votes. The score of an option is how many others it beats or equals: a winner has all of them.
*Decided* is a sound bound, exact for small remainders: the leader's chains are measured with all
remaining weight against each link, the challengers' with all of it in favour.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from operator import add

from agents.patterns.vote.poll import Poll, Result
from agents.patterns.vote.rules.plurality import leader
from agents.patterns.vote.rules.remainders import Vote, every_end
from celery_agents.contracts.vote import VotePolicy

Matrix = list[list[int]]


def tally(_policy: VotePolicy, poll: Poll) -> Result:
    """Count the rankings that were cast."""
    return _count(poll, _pairs(poll.votes, len(poll.options)), poll.cast)


def _count(poll: Poll, pairs: Matrix, cast: int) -> Result:
    paths = _strongest(_links(pairs))
    scores = [
        sum(mine >= other[option] for mine, other in zip(row, paths, strict=True)) - 1
        for option, row in enumerate(paths)
    ]
    shown = dict(zip(poll.options, map(Fraction, scores), strict=True))
    if not cast:
        return Result(None, shown, "no_ballots")
    return leader(poll, scores, shown)


def possible(policy: VotePolicy, poll: Poll) -> frozenset[str | None]:
    """The winners (None: no winner) that the remaining ballots allow, maybe too many."""
    size = len(poll.options)
    pairs = _pairs(poll.votes, size)
    now = _count(poll, pairs, poll.cast).winner
    if not poll.open or (now is not None and _safe(poll, pairs, poll.options.index(now))):
        return frozenset({now})

    def count(more: list[Vote]) -> Result:
        weight = sum(weight for _, weight in more)
        both = zip(pairs, _pairs(more, size), strict=True)
        return _count(poll, [list(map(add, *rows)) for rows in both], poll.cast + weight)

    ends = every_end(policy, poll, count)
    return ends if ends is not None else frozenset({*poll.options, None})


def _pairs(votes: Iterable[Vote], size: int) -> Matrix:
    """The weight that prefers the row's option to the column's.

    Each row is one large integer while it is added up, with a field for each column: one addition
    a place of a ranking instead of one a pair.
    """
    votes = [*votes]
    bits = sum(weight for _, weight in votes).bit_length() or 1
    fields = [1 << bits * option for option in range(size)]
    everyone = sum(fields)
    rows = [0] * size
    for ranking, weight in votes:
        below = everyone * weight
        for option in ranking:
            below -= fields[option] * weight
            rows[option] += below
    field = (1 << bits) - 1
    return [[row >> bits * other & field for other in range(size)] for row in rows]


def _links(pairs: Matrix, *, sure: int = 0, hoped: int = 0) -> Matrix:
    """The strength of each pairwise win that holds after ``sure`` more weight went against it.

    With ``hoped``, of each that holds if so much more weight goes for it.
    """
    return [
        [
            mine + hoped if mine + hoped > pairs[other][option] + sure else 0
            for other, mine in enumerate(row)
        ]
        for option, row in enumerate(pairs)
    ]


def _strongest(paths: Matrix) -> Matrix:
    """The widest path between every two options (Floyd and Warshall), in place."""
    for middle, through in enumerate(paths):
        for row in paths:
            reach = row[middle]
            if reach and row is not through:
                row[:] = [
                    max(width, min(reach, onward))
                    for width, onward in zip(row, through, strict=True)
                ]
    return paths


def _safe(poll: Poll, pairs: Matrix, first: int) -> bool:
    """Return whether ``first`` wins whatever the remaining ballots are."""
    least = _strongest(_links(pairs, sure=poll.open))[first]
    most = [row[first] for row in _strongest(_links(pairs, hoped=poll.open))]
    return poll.cast > 0 and all(
        least[other] > most[other]
        or (least[other] == most[other] and poll.breaks_ties and first < other)
        for other in range(len(pairs))
        if other != first
    )
