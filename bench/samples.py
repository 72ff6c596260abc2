"""Questions with forty sampled answers each. Standard library alone.

The published ones are 500 questions, the last letters of four names, with 40 answers of GPT-3.5 to
each (Y. Li et al., "Escape Sky-high Cost: Early-stopping Self-Consistency for Multi-step
Reasoning", ICLR 2024). They are not ours to carry: put ``GPT3.5_result/last_letters/T0.7.jsonl`` of
https://github.com/Yiwei98/ESC where :data:`PUBLISHED` says. Without it the questions are drawn.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import NamedTuple

from deploy.local.state import STATE

PUBLISHED = STATE / "bench" / "last_letters.jsonl"
SAMPLES = 40
#: Of the published ones: the share of right answers to a question as a Beta distribution of the
#: same mean and variance, and the share of the wrong answers that agree with each other.
_RIGHT = (0.273, 0.067)
_AGREE = 0.82


class Question(NamedTuple):
    """The right answer, and the sampled ones."""

    right: str
    answers: list[str]


def questions(count: int, order: int = 0) -> list[Question]:
    """So many questions, at most 500: the published ones where they are, else drawn ones.

    Their answers stand as they were given; in another ``order`` than 0 as chance has put them.
    """
    found = published(PUBLISHED) if PUBLISHED.exists() else drawn(count)
    if order:
        rng = random.Random(order)
        found = [Question(q.right, rng.sample(q.answers, len(q.answers))) for q in found]
    return found[:count]


def published(path: Path) -> list[Question]:
    """The questions of a file as it was published."""
    lines = map(json.loads, path.read_text().splitlines())
    return [Question(one["answer"], [*map(_answer, one["generated_answer"])]) for one in lines]


def drawn(count: int, seed: int = 0) -> list[Question]:
    """Questions of as many difficulties as the published ones have."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        share = rng.betavariate(*_RIGHT)
        found.append(Question("right", [_sample(share, rng) for _ in range(SAMPLES)]))
    return found


def _sample(right: float, rng: random.Random) -> str:
    if rng.random() < right:
        return "right"
    return "wrong" if rng.random() < _AGREE else f"wrong {rng.randrange(10)}"


def _answer(text: str) -> str:
    """The letters behind "The answer is"."""
    said = text.lower().rpartition("the answer is")[2]
    return re.sub("[^a-z]", "", said) or "none"
