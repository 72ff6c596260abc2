"""Percentiles of any number of durations from few counts, which add up.

With g = GAMMA, a bucket i counts values in (g^(i-1), g^i], and stands for 2 g^i / (g + 1), which is
off by at most (g - 1) / (g + 1) of any of them: Masson, Rim, Lee: "DDSketch: A Fast and
Fully-Mergeable Quantile Sketch with Relative-Error Guarantees", PVLDB 12(12), 2019.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

#: Each percentile is at most 1.97 % off.
GAMMA = 1.04
#: Values outside count as these: a tenth of a millisecond, and a year.
LEAST_S, MOST_S = 1e-4, 366 * 86_400.0

_LOG = math.log(GAMMA)
_MIDDLE = 2 / (GAMMA + 1)


@dataclass(slots=True)
class Summary:
    """Durations in numbers; two add up by :meth:`add`."""

    count: int = 0
    sum_s: float = 0.0
    sum_squares_s2: float = 0.0
    min_s: float = math.inf
    max_s: float = 0.0
    buckets: Counter[int] = field(default_factory=Counter)

    @classmethod
    def of(cls, values_s: Iterable[float]) -> Self:
        """Sum up values."""
        made = cls()
        for value in values_s:
            made.note(value)
        return made

    def note(self, value_s: float) -> None:
        """Count a value."""
        value = min(max(value_s, LEAST_S), MOST_S)
        self.count += 1
        self.sum_s += value
        self.sum_squares_s2 += value * value
        self.min_s = min(self.min_s, value)
        self.max_s = max(self.max_s, value)
        self.buckets[math.ceil(math.log(value) / _LOG)] += 1

    def add(self, other: Summary) -> None:
        """Count all of another one's values."""
        self.count += other.count
        self.sum_s += other.sum_s
        self.sum_squares_s2 += other.sum_squares_s2
        self.min_s = min(self.min_s, other.min_s)
        self.max_s = max(self.max_s, other.max_s)
        for bucket, number in other.buckets.items():
            self.buckets[bucket] += number

    @property
    def mean_s(self) -> float | None:
        """The mean; None of no values."""
        return self.sum_s / self.count if self.count else None

    @property
    def deviation_s(self) -> float | None:
        """The standard deviation; None of no values."""
        if not self.count:
            return None
        mean = self.sum_s / self.count
        return math.sqrt(max(self.sum_squares_s2 / self.count - mean * mean, 0.0))

    def quantile_s(self, share: float) -> float | None:
        """The value that this share of all are at most, within 2 %; None of no values."""
        if not self.count:
            return None
        left = max(math.ceil(share * self.count), 1)
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left <= 0:
                # The ends are known exactly, and no value is beyond them.
                return min(max(_MIDDLE * GAMMA**bucket, self.min_s), self.max_s)
        return self.max_s

    def stored(self) -> dict[str, int]:
        """The buckets as JSON."""
        return {str(bucket): number for bucket, number in self.buckets.items()}


def read_buckets(stored: Mapping[str, Any]) -> Counter[int]:
    """The buckets of :meth:`Summary.stored`."""
    return Counter({int(bucket): int(number) for bucket, number in stored.items()})
