"""Ballots as integers: what the counting rules work on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from agents.patterns.vote.ties import UNSEEN, breaks_ties, in_tie_order
from agents.patterns.vote.weights import heaviest
from celery_agents.contracts.vote import Ballot, Deadlocked, VotePolicy, Voter


@dataclass(frozen=True)
class Poll:
    """A count in progress, in whole units of weight.

    ``votes`` holds what was cast as (options best first, weight of all ballots that say so), from
    ``heads`` ballots. Options are indices into ``options``, which stand in tie order: of two
    level ones the lower index wins, where ``breaks_ties``. ``pending`` is the most that each
    remaining voter may add. While voters remain and any option may still be named,
    ``options[0]`` is :data:`UNSEEN`.
    """

    options: tuple[str, ...]
    votes: tuple[tuple[tuple[int, ...], int], ...]
    heads: int
    pending: tuple[int, ...]
    unit: int
    breaks_ties: bool

    @cached_property
    def cast(self) -> int:
        """The weight of all ballots that were cast."""
        return sum(weight for _, weight in self.votes)

    @cached_property
    def open(self) -> int:
        """The most weight that may still be cast."""
        return sum(self.pending)

    def fractions(self, values: Sequence[int], *, per: int = 1) -> dict[str, Fraction]:
        """Integer counts back as exact numbers, for each option."""
        return {
            option: Fraction(value, self.unit * per)
            for option, value in zip(self.options, values, strict=True)
        }


@dataclass(frozen=True, slots=True)
class Result:
    """A rule's count of the ballots: a winner, or why there is none, the scores, who leads."""

    winner: str | None
    scores: Mapping[str, Fraction]
    deadlock: Deadlocked | None = None
    leading: tuple[str, ...] = ()

    @property
    def tie_broken(self) -> bool:
        """True when several options led and one of them won."""
        return self.winner is not None and len(self.leading) > 1


def open_poll(
    policy: VotePolicy, ballots: Sequence[Ballot], remaining: Sequence[Voter] = ()
) -> Poll:
    """The poll of the ballots that were cast. Weights are scaled to integers, never rounded."""
    cast = [ballot for ballot in ballots if ballot.abstained is None]
    most = [heaviest(policy, voter) for voter in remaining]
    unit = math.lcm(
        *{one.weight.denominator for one in cast}, *{weight.denominator for weight in most}
    )
    named = dict.fromkeys(policy.choices or ())
    named.update(dict.fromkeys(option for ballot in cast for option in ballot.choices))
    if policy.choices is None and remaining:
        named[UNSEEN] = None
    options = in_tie_order(policy, named)
    index = {option: place for place, option in enumerate(options)}
    votes: dict[tuple[str, ...], int] = {}
    for ballot in cast:
        votes[ballot.choices] = votes.get(ballot.choices, 0) + _units(ballot.weight, unit)
    return Poll(
        options=options,
        votes=tuple((tuple([index[o] for o in names]), units) for names, units in votes.items()),
        heads=len(cast),
        pending=tuple(_units(weight, unit) for weight in most),
        unit=unit,
        breaks_ties=breaks_ties(policy),
    )


def _units(weight: Fraction, unit: int) -> int:
    return weight.numerator * (unit // weight.denominator)
