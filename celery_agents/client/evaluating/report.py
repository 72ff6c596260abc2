"""The report of an evaluation: what was measured, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import Field

from celery_agents.contracts.base import Contract, JsonValue
from celery_agents.contracts.outcome import ErrorInfo
from celery_agents.intervals import BOTH_95, share_interval

#: Below it a difference is an accident.
_ALPHA = 0.05
#: Examples that have to differ before a difference is told: five that all go one way are, by the
#: sign test, an accident in 6 of 100 cases.
_LEAST = 6
#: Halvings of an interval of shares.
_HALVINGS = 60


class EvaluatedCase(Contract):
    """One example, and what came of it."""

    id: str
    run_id: str
    value: JsonValue = None
    error: ErrorInfo | None = None
    scores: dict[str, float]
    cost_usd: float | None = None
    latency_s: float


class Measured(Contract):
    """The mean of a metric, with an interval of 95 %."""

    mean: float
    low: float
    high: float


class MeanDifference(Contract):
    """By how much the mean of a metric is above the other's, example by example; 95 %.

    Neither ``worse`` nor ``better`` holds where fewer than six examples differ.
    """

    mean: float
    low: float
    high: float
    #: How many examples have another score.
    differing: int = 0
    #: Of the exact sign test, where scores are 0 or 1; else None.
    p_value: float | None = None

    @property
    def worse(self) -> bool:
        """True when it is below, and that is no accident."""
        return self._is_sure and self.high < 0

    @property
    def better(self) -> bool:
        """True when it is above, and that is no accident."""
        return self._is_sure and self.low > 0

    @property
    def _is_sure(self) -> bool:
        return self.differing >= _LEAST and (self.p_value is None or self.p_value < _ALPHA)


class EvaluationReport(Contract):
    """The figures of one subject on a dataset. Examples that failed score 0."""

    subject: str
    cases: tuple[EvaluatedCase, ...]
    metrics: dict[str, Measured]
    failed: int
    #: None where the price of some call is not known.
    cost_usd: float | None
    latency_p50_s: float
    latency_p95_s: float
    #: The other subject, and the differences to it, where there was one.
    against: EvaluationReport | None = None
    differences: dict[str, MeanDifference] = Field(default_factory=dict)

    @classmethod
    def of(cls, subject: str, cases: Sequence[EvaluatedCase]) -> EvaluationReport:
        """Sum cases up."""
        names = cases[0].scores if cases else {}
        costs = [case.cost_usd for case in cases]
        latencies = sorted(case.latency_s for case in cases)
        known = [cost for cost in costs if cost is not None]
        return cls(
            subject=subject,
            cases=tuple(cases),
            metrics={name: measured([case.scores[name] for case in cases]) for name in names},
            failed=sum(case.error is not None for case in cases),
            cost_usd=math.fsum(known) if len(known) == len(costs) else None,
            latency_p50_s=quantile(latencies, 0.5),
            latency_p95_s=quantile(latencies, 0.95),
        )

    def compared(self, other: EvaluationReport) -> EvaluationReport:
        """The report with the differences to another one of the same examples."""
        theirs = {case.id: case for case in other.cases}
        both = [(case, theirs[case.id]) for case in self.cases if case.id in theirs]
        found = {
            name: difference([mine.scores[name] - their.scores[name] for mine, their in both])
            for name in self.metrics
            if both and name in other.metrics
        }
        return self.model_copy(update={"against": other, "differences": found})

    def misses(self, least: dict[str, float]) -> list[str]:
        """Say what does not hold: a mean below the least, or one that is worse than the other's."""
        told = [
            f"{name} is {self.metrics[name].mean:.3f}, below {low:g}"
            for name, low in least.items()
            if name in self.metrics and self.metrics[name].mean < low
        ]
        told += [f"there is no metric {name}" for name in least if name not in self.metrics]
        return told + [
            f"{name} is worse by {-one.mean:.3f} ({-one.high:.3f} to {-one.low:.3f})"
            for name, one in self.differences.items()
            if one.worse
        ]


def measured(scores: Sequence[float]) -> Measured:
    """The mean of scores, with an interval of 95 %.

    Of those that are 0 or 1 Wilson's (E. B. Wilson, 1927), else Student's t (1908).
    """
    count, mean = len(scores), math.fsum(scores) / len(scores)
    if all(score in {0.0, 1.0} for score in scores):
        low, high = share_interval(mean, count)
    else:
        low, high = _students(scores, mean, (0.0, 1.0))
    return Measured(mean=mean, low=low, high=high)


def difference(differences: Sequence[float]) -> MeanDifference:
    """The mean of the differences of pairs, with an interval of 95 %.

    Of scores that are 0 or 1 by the exact sign test of those that differ (Q. McNemar, 1947), with
    the interval of C. J. Clopper and E. S. Pearson (1934) for the share of them that are above;
    else Student's t (1908) of the differences.
    """
    count, mean = len(differences), math.fsum(differences) / len(differences)
    above, below = sum(one > 0 for one in differences), sum(one < 0 for one in differences)
    differing = above + below
    if not all(one in {-1.0, 0.0, 1.0} for one in differences):
        low, high = _students(differences, mean, (-1.0, 1.0))
        return MeanDifference(mean=mean, low=low, high=high, differing=differing)
    if not differing:  # the share of those that differ may be so large, and none of them be here
        most = 1 - (_ALPHA / 2) ** (1 / count)
        return MeanDifference(mean=0.0, low=-most, high=most, p_value=1.0)
    share = differing / count
    return MeanDifference(
        mean=mean,
        low=(2 * _least_share(above, differing) - 1) * share,
        high=(1 - 2 * _least_share(below, differing)) * share,
        differing=differing,
        p_value=min(2 * _tail(max(above, below), differing, 0.5), 1.0),
    )


def _students(
    values: Sequence[float], mean: float, all_there_is: tuple[float, float]
) -> tuple[float, float]:
    """Student's interval of 95 % of a mean; of one value alone, all that there may be."""
    count = len(values)
    if count == 1:
        return min(all_there_is[0], mean), max(all_there_is[1], mean)
    spread = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    half = _t(count - 1) * math.sqrt(spread / count)
    return mean - half, mean + half


def _t(freedom: int) -> float:
    """The quantile 0.975 of Student's t.

    Of one and two degrees of freedom exactly; else its expansion by those of the normal
    distribution (Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5), which is
    less than 0.005 off.
    """
    if freedom <= 2:  # noqa: PLR2004
        share = 1 - _ALPHA
        return (math.tan(math.pi * share / 2), share * math.sqrt(2 / (1 - share**2)))[freedom - 1]
    z = BOTH_95
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160,
    )
    return math.fsum(term / freedom**power for power, term in enumerate(terms))


def _tail(least: int, count: int, share: float) -> float:
    """How likely so many or more of ``count`` are, each of which is so by ``share``: binomial."""
    if least <= 0 or share >= 1:
        return 1.0
    if share <= 0:
        return 0.0
    one, other, whole = math.log(share), math.log1p(-share), math.lgamma(count + 1)
    return math.fsum(
        math.exp(
            whole - math.lgamma(k + 1) - math.lgamma(count - k + 1) + k * one + (count - k) * other
        )
        for k in range(least, count + 1)
    )


def _least_share(found: int, count: int) -> float:
    """The lower end of Clopper's and Pearson's interval of 95 % for ``found`` of ``count``."""
    low, high = 0.0, 1.0 if found else 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _tail(found, count, middle) < _ALPHA / 2 else (low, middle)
    return low


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which a share of them lies; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
