"""The agreement of the ballots with an answer; it is defined at ``Decision``."""

from __future__ import annotations

from fractions import Fraction

from agents.patterns.vote.poll import Poll
from agents.patterns.vote.rules.borda import points
from agents.patterns.vote.rules.plurality import weights
from celery_agents.contracts.vote import VotePolicy


def supports(policy: VotePolicy, poll: Poll) -> tuple[list[int], int]:
    """Each option's support summed over the ballots, and how many count as one unit of weight."""
    if policy.rule.ballot == "ranking" and len(poll.options) > 1:
        return points(poll), 2 * (len(poll.options) - 1)
    return weights(poll), 1


def consensus(policy: VotePolicy, poll: Poll, option: str | None = None) -> Fraction:
    """The mean support of ``option``, from 0 to 1; without one, of the best supported option."""
    if not poll.cast:
        return Fraction(0)
    values, per = supports(policy, poll)
    named = dict(zip(poll.options, values, strict=True))
    value = max(values) if option is None else named.get(option, 0)
    return Fraction(value, per * poll.cast)
