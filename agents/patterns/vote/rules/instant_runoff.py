"""Instant runoff: strike out the weakest option until one has more than half of the live weight.

A ballot counts for the first of its options that still stands, and for none when it is exhausted.
Of the weakest that are level, the last in tie order goes first; where ties are not broken, every
order is followed, and two possible winners are a tie (parallel-universes tie-breaking, V.
Conitzer et al., "Preference Functions that Score Rankings and Maximum Likelihood Estimation",
2009). *Decided* is a sound bound, exact for small remainders: every order of elimination that the
remaining weight allows is followed, as if it could be dealt out anew in each round.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from agents.patterns.vote.poll import Poll, Result
from agents.patterns.vote.rules.remainders import Vote, every_end
from celery_agents.contracts.vote import VotePolicy

#: A ranking, the place of its first option that stands, its weight.
_Held = tuple[tuple[int, ...], int, int]
_STATES = 64  # sets of standing options that are looked at before anything counts as possible


def tally(_policy: VotePolicy, poll: Poll) -> Result:
    """Count the rankings that were cast; scores are votes in an option's last round."""
    last, winner = _rounds(poll)
    scores = poll.fractions(last)
    if not poll.cast:
        return Result(None, scores, "no_ballots")
    if poll.breaks_ties:
        return Result(poll.options[winner], scores, leading=(poll.options[winner],))
    leading = tuple(poll.options[option] for option in sorted(_winners(poll)))
    if len(leading) > 1:
        return Result(None, scores, "tie", leading)
    return Result(leading[0], scores, leading=leading)


def possible(policy: VotePolicy, poll: Poll) -> frozenset[str | None]:
    """The winners (None: no winner) that the remaining ballots allow, maybe too many."""
    now = tally(policy, poll).winner
    if not poll.open:
        return frozenset({now})
    found = _winners(poll)
    if poll.cast and len(found) == 1:
        return frozenset(poll.options[option] for option in found)

    def count(more: list[Vote]) -> Result:
        return tally(policy, replace(poll, votes=(*poll.votes, *more), pending=()))

    ends = every_end(policy, poll, count)
    return ends if ends is not None else frozenset({*poll.options, None})


class _Piles:
    """Ballots in piles by the first of their options that still stands.

    Striking options out moves only their ballots, so that counting a whole runoff takes as long
    as reading all rankings once.
    """

    def __init__(self, piles: dict[int, list[_Held]], scores: dict[int, int]) -> None:
        self._piles = piles
        self.scores = scores  # in the order of options

    @classmethod
    def of(cls, poll: Poll) -> _Piles:
        everyone = range(len(poll.options))
        made = cls({option: [] for option in everyone}, dict.fromkeys(everyone, 0))
        made._deal((ranking, 0, weight) for ranking, weight in poll.votes)
        return made

    def without(self, gone: Collection[int]) -> _Piles:
        """The same after these were struck out."""
        left = {o: pile for o, pile in self._piles.items() if o not in gone}
        rest = _Piles(left, {o: score for o, score in self.scores.items() if o not in gone})
        rest._deal(held for option in gone for held in self._piles[option])
        return rest

    def _deal(self, ballots: Iterable[_Held]) -> None:
        moved: dict[int, list[_Held]] = {}
        for ranking, start, weight in ballots:
            for place in range(start, len(ranking)):
                option = ranking[place]
                if option in self.scores:
                    moved.setdefault(option, []).append((ranking, place, weight))
                    self.scores[option] += weight
                    break
        for option, more in moved.items():
            self._piles[option] = [*self._piles[option], *more]


def _rounds(poll: Poll) -> tuple[list[int], int]:
    """Each option's votes in its last round, and who wins, with ties in tie order."""
    last = [0] * len(poll.options)
    piles = _Piles.of(poll)
    while True:
        scores = piles.scores
        for option, score in scores.items():
            last[option] = score
        best = max(scores, key=lambda option: (scores[option], -option))
        if 2 * scores[best] > sum(scores.values()) or len(scores) == 1:
            return last, best
        piles = piles.without({min(scores, key=lambda option: (scores[option], -option))})


def _winners(poll: Poll) -> set[int]:
    """Return who may win when the open weight goes anywhere; all options when that is too much."""
    everyone = set(range(len(poll.options)))
    found: set[int] = set()
    seen: set[frozenset[int]] = set()
    todo = [_Piles.of(poll)]
    while todo:
        piles = todo.pop()
        scores = piles.scores
        standing = frozenset(scores)
        if standing in seen:
            continue
        seen.add(standing)
        if len(seen) > _STATES or (poll.open and len(found) > 1):
            return everyone
        best = max(scores, key=lambda option: scores[option])
        if 2 * scores[best] > sum(scores.values()) + poll.open or len(standing) == 1:
            found.add(best)
            continue
        todo.extend(piles.without(gone) for gone in _next_out(scores, poll.open))
    return found


def _next_out(scores: dict[int, int], slack: int) -> list[set[int]]:
    """List who may be struck out next when ``slack`` may still be added anywhere.

    A group that is weaker even together, with all the slack, than each of the others goes in one
    piece: whatever happens inside it, all of it is gone before any other.
    """
    order = sorted(scores, key=lambda option: scores[option])
    below = 0
    for place, option in enumerate(order[:-1]):
        below += scores[option]
        if below + slack < scores[order[place + 1]]:
            return [set(order[: place + 1])]
    out: list[set[int]] = []
    below = 0
    for place, option in enumerate(order):
        if place * scores[option] - below > slack:  # lifting all weaker ones to it costs more
            break
        out.append({option})
        below += scores[option]
    return out
