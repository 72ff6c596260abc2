"""Most weight wins: plurality, weighted voting, approval.

Approval: S. Brams, P. Fishburn, "Approval Voting", 1978. *Decided* is exact: whatever the
remaining ballots are, no option gains more than if all of them named it alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from agents.patterns.vote.poll import Poll, Result
from celery_agents.contracts.vote import VotePolicy


def tally(_policy: VotePolicy, poll: Poll) -> Result:
    """Count the ballots that were cast."""
    scores = weights(poll)
    if not poll.cast:
        return Result(None, poll.fractions(scores), "no_ballots")
    return leader(poll, scores, poll.fractions(scores))


def possible(_policy: VotePolicy, poll: Poll) -> frozenset[str | None]:
    """Every winner (None: no winner) that the remaining ballots allow."""
    scores = weights(poll)
    names: list[str | None] = [*poll.options, None]
    found = {_first(poll, scores) if poll.cast else -1}
    if poll.open:
        for option in range(len(scores)):
            raised = [*scores]
            raised[option] += poll.open
            found.add(_first(poll, raised))
    return frozenset(names[option] for option in found)


def weights(poll: Poll) -> list[int]:
    """The weight behind each option."""
    scores = [0] * len(poll.options)
    for options, weight in poll.votes:
        for option in options:
            scores[option] += weight
    return scores


def leader(poll: Poll, scores: Sequence[int], shown: Mapping[str, Fraction]) -> Result:
    """The option of the highest score, by the tie order where that is allowed."""
    best = max(scores)
    leading = tuple(poll.options[i] for i, score in enumerate(scores) if score == best)
    if len(leading) > 1 and not poll.breaks_ties:
        return Result(None, shown, "tie", leading)
    return Result(leading[0], shown, leading=leading)


def _first(poll: Poll, scores: list[int]) -> int:
    best = max(scores)
    return scores.index(best) if poll.breaks_ties or scores.count(best) == 1 else -1
