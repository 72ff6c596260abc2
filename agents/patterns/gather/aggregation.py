"""Aggregating values other than by vote. Each function reports what it had to leave out.

All take the outcomes of a group's members, in their stated order, and use the values of those
that succeeded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.gather import Aggregate, Clash, Skipped, Why
from celery_agents.contracts.outcome import Outcome
from celery_agents.contracts.vote import exact, unique_keys

Weights = Mapping[str, Fraction | float | str]


def merge_dicts(outcomes: Sequence[Outcome]) -> Aggregate:
    """Deep merge of objects: objects are merged, everything else must be equal or clashes."""
    taken = _Taken(outcomes)
    parts = {m: value for m, value in taken.values() if isinstance(value, dict)}
    clashes: list[Clash] = []
    merged = _merged(parts, (), clashes)
    return taken.aggregate(merged, parts, conflicts=clashes)


def merge_lists(outcomes: Sequence[Outcome]) -> Aggregate:
    """All items of all lists, each once, in the order in which they first appear."""
    taken = _Taken(outcomes)
    parts = {m: value for m, value in taken.values() if isinstance(value, list)}
    items: dict[str, JsonValue] = {}
    for value in parts.values():
        for item in value:
            items.setdefault(_same(item), item)
    return taken.aggregate(list(items.values()), parts)


def mean(outcomes: Sequence[Outcome], weights: Weights | None = None) -> Aggregate:
    """The mean of numbers, by ``weights`` of members if given; computed exactly, then rounded."""
    taken = _Taken(outcomes)
    parts = taken.numbers(weights)
    total = sum((weight for _, weight in parts.values()), Fraction(0))
    top = sum((number * weight for number, weight in parts.values()), Fraction(0))
    return taken.aggregate(float(top / total) if total else None, parts)


def median(outcomes: Sequence[Outcome], weights: Weights | None = None) -> Aggregate:
    """The weighted median: half of the weight lies on each side.

    Where the weight divides exactly between two numbers, it is their mean.
    """
    taken = _Taken(outcomes)
    parts = taken.numbers(weights)
    half = sum((weight for _, weight in parts.values()), Fraction(0)) / 2
    ordered = sorted(parts.values())
    reached = Fraction(0)
    for place, (number, weight) in enumerate(ordered):
        reached += weight
        if reached >= half:
            other = ordered[place + 1][0] if reached == half else number
            return taken.aggregate(float((number + other) / 2), parts)
    return taken.aggregate(None, parts)


def concatenate(outcomes: Sequence[Outcome], separator: str = "\n\n") -> Aggregate:
    """All texts, one after another."""
    taken = _Taken(outcomes)
    parts = {m: value for m, value in taken.values() if isinstance(value, str)}
    return taken.aggregate(separator.join(parts.values()), parts)


def best(outcomes: Sequence[Outcome], scores: Mapping[str, float]) -> Aggregate:
    """The value to which a judge gave the highest score; of equal ones, the first stated."""
    taken = _Taken(outcomes)
    known = {m: score for m, score in scores.items() if math.isfinite(score)}
    parts = {m: value for m, value in taken.values() if m in known}
    taken.why = "no_score"
    if not parts:
        return taken.aggregate(None, parts)
    return taken.aggregate(parts[max(parts, key=lambda m: known[m])], parts)


class _Taken:
    """The members of a group, and what becomes of each."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        names = unique_keys(
            one.member or one.agent or str(place) for place, one in enumerate(outcomes)
        )
        self.outcomes = dict(zip(names, outcomes, strict=True))
        self.why: Why = "wrong_type"
        self.weightless: set[str] = set()

    def values(self) -> list[tuple[str, JsonValue]]:
        return [(member, one.value) for member, one in self.outcomes.items() if one.ok]

    def numbers(self, weights: Weights | None) -> dict[str, tuple[Fraction, Fraction]]:
        """Exact (number, weight) of the members that gave a number and weigh something."""
        found: dict[str, tuple[Fraction, Fraction]] = {}
        for member, value in self.values():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if not (isinstance(value, int) or math.isfinite(value)) or abs(value) > _LARGEST:
                continue
            weight = exact(1 if weights is None else weights.get(member, 0))
            if weight > 0:
                found[member] = (exact(value), weight)
            else:
                self.weightless.add(member)
        return found

    def aggregate(
        self, value: JsonValue, used: Mapping[str, object], *, conflicts: Sequence[Clash] = ()
    ) -> Aggregate:
        skipped = tuple(
            Skipped(member=member, why=self._why(member))
            for member in self.outcomes
            if member not in used
        )
        return Aggregate(
            value=value if used else None,
            used=tuple(used),
            skipped=skipped,
            conflicts=tuple(conflicts),
        )

    def _why(self, member: str) -> Why:
        if not self.outcomes[member].ok:
            return "no_answer"
        return "no_weight" if member in self.weightless else self.why


_LARGEST = 1e300  # sums and means of numbers up to this are floats


def _merged(
    parts: Mapping[str, dict[str, JsonValue]], path: tuple[str, ...], clashes: list[Clash]
) -> dict[str, JsonValue]:
    merged: dict[str, JsonValue] = {}
    for key in dict.fromkeys(key for part in parts.values() for key in part):
        said = {member: part[key] for member, part in parts.items() if key in part}
        objects = {m: value for m, value in said.items() if isinstance(value, dict)}
        if len(objects) == len(said):
            merged[key] = _merged(objects, (*path, key), clashes)
            continue
        merged[key] = next(iter(said.values()))
        if len({_same(value) for value in said.values()}) > 1:
            clashes.append(Clash(path=(*path, key), values=said))
    return merged


def _same(value: JsonValue) -> str:
    """Return a text that equal JSON values share: true is not 1, and 1 is not 1.0."""
    return json.dumps(value, sort_keys=True)
