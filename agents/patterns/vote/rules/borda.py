"""Borda's count: points for every option that one is ranked above.

A ranking of m options gives an option one point for each option below it and half a point for
each level with it; options that a ballot leaves out stand level below those it ranks (J.-C. de
Borda, 1784; for incomplete rankings the symmetric form of D. Saari and others). *Decided* is
exact: a ballot moves two options apart by m - 1 points at most, and each challenger is checked
with all remaining ballots ranking it first and the leader last.
"""

from __future__ import annotations

from agents.patterns.vote.poll import Poll, Result
from agents.patterns.vote.rules.plurality import leader
from celery_agents.contracts.vote import VotePolicy


def tally(_policy: VotePolicy, poll: Poll) -> Result:
    """Count the rankings that were cast."""
    scores = points(poll)
    if not poll.cast:
        return Result(None, poll.fractions(scores, per=2), "no_ballots")
    return leader(poll, scores, poll.fractions(scores, per=2))


def possible(policy: VotePolicy, poll: Poll) -> frozenset[str | None]:
    """Every winner (None: no winner) that the remaining ballots allow."""
    scores = points(poll)
    now = tally(policy, poll).winner
    if not poll.open:
        return frozenset({now})
    best = max(scores)
    first = scores.index(best)
    gain = 2 * (len(scores) - 1) * poll.open
    found: set[str | None] = {now, poll.options[first]}
    for option, score in enumerate(scores):
        if option == first:
            continue
        if score + gain > best or (score + gain == best and poll.breaks_ties and option < first):
            found.add(poll.options[option])
        elif score + gain == best and not poll.breaks_ties:
            found.add(None)
    return frozenset(found)


def points(poll: Poll) -> list[int]:
    """Twice the Borda points of each option, in units of weight."""
    count = len(poll.options)
    scores = [0] * count
    for ranking, weight in poll.votes:
        level = (count - len(ranking) - 1) * weight
        if len(ranking) < count:
            for option in set(range(count)).difference(ranking):
                scores[option] += level
        for place, option in enumerate(ranking):
            scores[option] += 2 * (count - 1 - place) * weight
    return scores
