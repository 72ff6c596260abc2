"""The counting rules: each a module with ``tally`` and ``possible``.

``tally(policy, poll)`` counts the ballots that were cast. ``possible(policy, poll)`` names every
winner that the remaining ballots still allow, never too few; each module says whether it is
exact.
"""

from __future__ import annotations

from typing import Protocol

from agents.patterns.vote.poll import Poll, Result
from agents.patterns.vote.rules import borda, instant_runoff, plurality, schulze, threshold
from celery_agents.contracts.vote import VotePolicy


class Rule(Protocol):
    """A module that counts."""

    def tally(self, policy: VotePolicy, poll: Poll, /) -> Result: ...
    def possible(self, policy: VotePolicy, poll: Poll, /) -> frozenset[str | None]: ...


_RULES: dict[str, Rule] = {
    "plurality": plurality,
    "weighted": plurality,
    "approval": plurality,
    "majority": threshold,
    "supermajority": threshold,
    "unanimous": threshold,
    "instant_runoff": instant_runoff,
    "borda": borda,
    "schulze": schulze,
}


def tally(policy: VotePolicy, poll: Poll) -> Result:
    """Count by the policy's rule."""
    return _RULES[policy.rule.kind].tally(policy, poll)


def possible(policy: VotePolicy, poll: Poll) -> frozenset[str | None]:
    """The winners that the remaining ballots allow, None among them when there may be none."""
    return _RULES[policy.rule.kind].possible(policy, poll)
