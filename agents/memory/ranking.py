"""Ranking of memories for a question, in whole numbers: the same on every database.

Okapi BM25 (S. Robertson and H. Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond",
2009) with the statistics of one space; then each memory gets a part of what its neighbours in the
conversation have, since an answer often stands beside the words that were asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

#: BM25's constants in hundredths, as in the formula's denominator: k1 = 0.9, b = 0.3, chosen on
#: conversations 1 to 5 of LoCoMo (bench/recall.py).
OWN, USUAL, LENGTH = 100, 63, 27  # 1, k1 (1 - b), k1 b
#: Units of a weight.
_UNIT = 100_000
#: The part of its neighbours' scores that a memory gets.
_BESIDE_PERCENT = 30
#: Memories that may be too long for what is left of a budget.
PASSED_MAX = 20
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SpaceNumbers:
    """A space in numbers: its memories, and the terms of all of them together."""

    memories: int
    length: int

    @property
    def usual(self) -> int:
        """The mean length in thousandths of a term."""
        return max(self.length * 1_000 // max(self.memories, 1), 1)

    def weight(self, having: int) -> int:
        """The weight of a term that so many memories have."""
        of = max(self.memories, having)
        return round(math.log(1 + (of - having + 0.5) / (having + 0.5)) * _UNIT)


def score(terms: Mapping[str, int], weights: Mapping[str, int], of: SpaceNumbers) -> int:
    """Return the score of a text by its terms; the statement of app/journal/memory does as much."""
    usual = of.usual
    beside = USUAL * usual + LENGTH * sum(terms.values()) * 1_000
    return sum(
        weights[term] * (OWN * tf * usual) // (OWN * tf * usual + beside)
        for term, tf in terms.items()
        if term in weights
    )


#: What words count beside vectors, in hundredths, where there are any: best for the vectors of
#: small models, as measured on LoCoMo; those of equal ranks (RRF) are worse than words alone.
_WORDS_PERCENT = 70
#: The most that a memory's words and its vector come to.
_FUSED = 1_000_000


def fused(words: Mapping[int, int], near: Mapping[int, int]) -> dict[int, int]:
    """Weigh memories by their words and by how near they are, in thousandths; by their places."""
    most = max(words.values(), default=0) or 1
    by_words, by_vectors = _WORDS_PERCENT * _FUSED // 100, (100 - _WORDS_PERCENT) * _FUSED // 100
    return {
        place: by_words * words.get(place, 0) // most + by_vectors * near.get(place, 0) // 1_000
        for place in {**words, **near}
    }


#: The conversation of a memory and its place there.
Turn = tuple[str, int]


def with_neighbours(own: Mapping[Turn, int]) -> dict[Turn, int]:
    """Give each turn a part of the scores of those before and behind it, also such as have none."""
    total = dict(own)
    for (thread, turn), found in own.items():
        for beside in ((thread, turn - 1), (thread, turn + 1)):
            total[beside] = total.get(beside, 0) + found * _BESIDE_PERCENT // 100
    return total


class RankedPlace(NamedTuple):
    """A memory in an order: by its place, or by its turn, where only a neighbour's is known."""

    points: int
    place: int | None
    turn: Turn | None


def ranked(scores: Mapping[int, int], turns: Mapping[int, Turn], most: int) -> list[RankedPlace]:
    """Order memories with their neighbours, the best first, the newest of those that are alike.

    A neighbour whose place is not known is taken to stand beside the one that found it.
    """
    places = {turn: place for place, turn in turns.items()}
    spread = with_neighbours({turns[p]: points for p, points in scores.items() if p in turns})
    found = [
        (points, 2 * p, RankedPlace(points, p, None))
        for p, points in scores.items()
        if p not in turns
    ]
    for turn, points in spread.items():
        if (place := places.get(turn)) is not None:
            found.append((points, 2 * place, RankedPlace(points, place, None)))
        elif turn[1] >= 0:
            thread, number = turn
            beside = [(places.get((thread, number + step)), step) for step in (-1, 1)]
            at = max(2 * p - step for p, step in beside if p is not None)
            found.append((points, at, RankedPlace(points, None, turn)))
    found.sort(key=lambda one: (-one[0], -one[1]))
    return [spot for *_, spot in found[:most]]


def cut(found: Iterable[T], tokens: Callable[[T], int], budget: int) -> list[T]:
    """Take what fits into a budget of tokens, in its order; what is too long is passed over.

    After so many that were passed over it ends: the budget is used up, as good as.
    """
    kept: list[T] = []
    passed = 0
    for one in found:
        if (size := tokens(one)) <= budget:
            budget -= size
            kept.append(one)
            if not budget:
                break
        elif (passed := passed + 1) == PASSED_MAX:
            break
    return kept


def essential(having: Mapping[str, int], most: int) -> Sequence[str]:
    """Return the rarest terms, which together stand in so many memories at the most; one at least.

    Those find memories; commoner ones only weigh what they have found.
    """
    chosen: list[str] = []
    for term in sorted(having, key=lambda t: (having[t], t)):
        most -= having[term]
        if chosen and most < 0:
            break
        chosen.append(term)
    return chosen
