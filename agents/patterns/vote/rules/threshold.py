"""A share of the weight that was cast: majority, supermajority, unanimity.

Abstentions do not count into the share; a quorum guards against too many of them. *Decided* is
exact: an option's share is highest when all remaining ballots name it, and lowest when all of
them name others.
"""

from __future__ import annotations

from agents.patterns.vote.poll import Poll, Result
from agents.patterns.vote.rules.plurality import weights
from celery_agents.contracts.vote import Supermajority, Unanimous, VotePolicy


def tally(policy: VotePolicy, poll: Poll) -> Result:
    """Count the ballots that were cast."""
    scores = weights(poll)
    exact = poll.fractions(scores)
    if not poll.cast:
        return Result(None, exact, "no_ballots")
    winner = _reaching(policy, scores, poll.cast)
    if winner is not None:
        return Result(poll.options[winner], exact, leading=(poll.options[winner],))
    best = max(scores)
    leading = tuple(poll.options[i] for i, score in enumerate(scores) if score == best)
    return Result(None, exact, "threshold", leading)


def possible(policy: VotePolicy, poll: Poll) -> frozenset[str | None]:
    """Every winner (None: no winner) that the remaining ballots allow."""
    scores = weights(poll)
    found = {_reaching(policy, scores, poll.cast)}
    if poll.open:
        for option in range(len(scores)):
            raised = [*scores]
            raised[option] += poll.open
            found.add(_reaching(policy, raised, poll.cast + poll.open))
    return frozenset(None if option is None else poll.options[option] for option in found)


def _reaching(policy: VotePolicy, scores: list[int], total: int) -> int | None:
    best = max(scores, default=0)
    match policy.rule:
        case Supermajority(threshold=threshold):
            enough = best >= threshold * total
        case Unanimous():
            enough = best == total
        case _:
            enough = 2 * best > total
    return scores.index(best) if total and enough else None
