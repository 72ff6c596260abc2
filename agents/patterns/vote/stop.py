"""Stop rules: enough voters were heard, short of certainty. They count ballots, not weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from celery_agents.contracts.vote import (
    AdaptiveConsistency,
    Ballot,
    Lead,
    UnanimousWindow,
    VotePolicy,
)


def enough(policy: VotePolicy, ballots: Sequence[Ballot], winner: str) -> bool:
    """Return whether the stop rule is content with ``winner``; ballots in order of arrival."""
    voices = [ballot.option for ballot in ballots if ballot.option is not None]
    ahead = voices.count(winner)
    behind = max(Counter(v for v in voices if v != winner).values(), default=0)
    match policy.stop:
        case AdaptiveConsistency(threshold=threshold):
            return leads_with_probability(ahead, behind) >= threshold
        case Lead(k=k):
            return ahead - behind >= k
        case UnanimousWindow(size=size):
            return len(voices) >= size and set(voices[-size:]) == {winner}
        case _:
            return False


def leads_with_probability(leader: int, runner_up: int) -> Fraction:
    """P(p1 > p2) after ``leader`` and ``runner_up`` ballots: 1 - I_1/2(leader + 1, runner_up + 1).

    The Beta posterior of P. Aggarwal et al., "Let's Sample Step by Step: Adaptive-Consistency for
    Efficient Reasoning and Coding with LLMs", EMNLP 2023. With integers the regularised
    incomplete Beta function is a binomial tail, so the probability is exact.
    """
    tosses = leader + runner_up + 1
    tail = ways = 1  # C(tosses, heads), each from the one before: far quicker than each anew
    for heads in range(leader):
        ways = ways * (tosses - heads) // (heads + 1)
        tail += ways
    return Fraction(tail, 2**tosses)
