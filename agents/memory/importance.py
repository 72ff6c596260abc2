"""Weights of exchanges for a question: by its words, and by how long they are ago.

Relevance is Okapi BM25 (S. Robertson and H. Zaragoza, "The Probabilistic Relevance Framework: BM25
and Beyond", 2009), recency halves every few exchanges, and both weigh the same (J. Park et al.,
"Generative Agents", 2023, without the model that rates each memory there).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

#: BM25's constants: how soon a further occurrence adds little, and how much lengths count.
_K1, _B = 0.9, 0.3
#: Exchanges after which recency is halved.
_HALF_LIFE = 8.0
_WORD = re.compile(r"[^\W_]+")
#: Scripts without spaces: their words are taken to be pairs of signs.
_SIGNS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


def words(text: str) -> list[str]:
    """The words of a text, for comparison; of scripts without spaces, pairs of signs."""
    found: list[str] = []
    for word in _WORD.findall(text.casefold()):
        for signs in _SIGNS.findall(word):
            found += [signs[at : at + 2] for at in range(max(len(signs) - 1, 1))]
        found += [part for part in _SIGNS.split(word) if part]
    return found


def importances(texts: Sequence[str], question: str) -> list[float]:
    """Weigh each text for a question, from 0 to 1; the last one is the newest."""
    relevances = _relevances([Counter(words(text)) for text in texts], {*words(question)})
    most = max(relevances, default=0.0) or 1.0
    ages = range(len(texts) - 1, -1, -1)
    return [
        (relevance / most + 0.5 ** (age / _HALF_LIFE)) / 2
        for relevance, age in zip(relevances, ages, strict=True)
    ]


def _relevances(texts: Sequence[Counter[str]], asked: set[str]) -> list[float]:
    lengths = [text.total() for text in texts]
    usual = sum(lengths) / len(lengths) if any(lengths) else 1.0
    weights = {word: _weight(sum(word in text for text in texts), len(texts)) for word in asked}
    return [
        sum(
            weights[word] * text[word] / (text[word] + _K1 * (1 - _B + _B * length / usual))
            for word in sorted(asked & text.keys())  # floats: the same sum each time
        )
        for text, length in zip(texts, lengths, strict=True)
    ]


def _weight(having: int, of: int) -> float:
    return math.log(1 + (of - having + 0.5) / (having + 0.5))
