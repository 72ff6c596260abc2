"""Traits, styles and criteria of a model agent, as the instructions and schemas that they become.

One table each: what a word becomes is what the model is told, word for word. Traits come in three
strengths, since models do not tell 0.7 from 0.8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Traits, as what an agent is to be.
TRAITS: dict[str, str] = {
    "analytical": "analytical: take problems apart and reason step by step",
    "cautious": "cautious: name risks, and what you do not know",
    "concrete": "concrete: give examples and numbers rather than general words",
    "creative": "creative: look for ideas that are not obvious",
    "curious": "curious: ask for what is missing",
    "decisive": "decisive: commit to one answer and say which",
    "empathetic": "empathetic: take the reader's situation and feelings into account",
    "friendly": "friendly: warm and encouraging in tone",
    "humorous": "humorous: a light touch is welcome",
    "patient": "patient: explain from the beginning, without haste",
    "sceptical": "sceptical: doubt claims until they are shown",
    "strict": "strict: hold to rules and let nothing pass that breaks them",
    "terse": "terse: short and to the point",
    "thorough": "thorough: leave nothing of importance out",
}
#: Styles, as how an agent is to write.
STYLES: dict[str, str] = {
    "academic": "Write as in a scholarly paper: precise, with hedges where they are due.",
    "casual": "Write as to a friend: everyday words, contractions, no ceremony.",
    "formal": "Write formally: complete sentences, no contractions, no slang.",
    "plain": "Write plainly: short sentences and common words.",
    "technical": "Write for specialists: exact terms, no explanation of common ones.",
}
#: From which weight on a trait is told how strongly; 0 is not told.
_STRENGTHS = ((0.75, "Be very "), (0.4, "Be "), (0.0, "Be somewhat "))


def instructions(traits: Mapping[str, float], style: str | None) -> str | None:
    """Traits, strongest first, and a style as instructions; None where there are none."""
    ranked = sorted(traits.items(), key=lambda item: (-item[1], item[0]))
    told = [f"{_strength(weight)}{TRAITS[name]}." for name, weight in ranked if weight > 0]
    if style is not None:
        told.append(STYLES[style])
    return "\n".join(told) or None


def _strength(weight: float) -> str:
    return next(words for least, words in _STRENGTHS if weight >= least)


def review_schema(criteria: Sequence[str]) -> dict[str, Any]:
    """The form of a review: for each criterion its findings and a score."""
    one = {
        "type": "object",
        "properties": {
            "findings": {
                "type": "array",
                "items": {"type": "string"},
                "description": "What is wrong, each with its place; empty when nothing is.",
            },
            "score": {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "description": "From 0 (unusable) to 1 (nothing to improve).",
            },
        },
        "required": ["findings", "score"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": dict.fromkeys(criteria, one),
        "required": [*criteria],
        "additionalProperties": False,
    }


def report(review: Mapping[str, Any], criteria: Sequence[str]) -> dict[str, Any]:
    """A review with what it comes to: the mean of the scores, the weakest criterion, all findings.

    The review itself stands under ``criteria``.
    """
    scores = {name: float(review[name]["score"]) for name in criteria}
    return {
        "score": round(sum(scores.values()) / len(scores), 6),
        "weakest": min(criteria, key=lambda name: scores[name]),
        "findings": [
            {"criterion": name, "finding": finding}
            for name in criteria
            for finding in review[name]["findings"]
        ],
        "criteria": {name: review[name] for name in criteria},
    }
