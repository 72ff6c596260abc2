"""The report of an evaluation: what was measured, and how sure that is."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from pydantic import Field

from celery_agents.contracts.base import Contract, JsonValue
from celery_agents.contracts.outcome import ErrorInfo

#: Of a normal distribution, 95 % lie within so many deviations.
_Z = 1.959963984540054
#: Resamples of a comparison: its ends then move by less than a fiftieth of its width.
_RESAMPLES = 2_000


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
    """By how much the mean of a metric is above the other's, example by example; 95 %."""

    mean: float
    low: float
    high: float

    @property
    def worse(self) -> bool:
        """True when it is below, and that is no accident."""
        return self.high < 0

    @property
    def better(self) -> bool:
        """True when it is above, and that is no accident."""
        return self.low > 0


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
    """The mean of scores; of those that are 0 or 1 with Wilson's interval."""
    count, mean = len(scores), math.fsum(scores) / len(scores)
    if all(score in {0.0, 1.0} for score in scores):
        size = 1 + _Z**2 / count
        middle = (mean + _Z**2 / (2 * count)) / size
        half = _Z * math.sqrt(mean * (1 - mean) / count + _Z**2 / (4 * count**2)) / size
        return Measured(mean=mean, low=max(middle - half, 0.0), high=min(middle + half, 1.0))
    spread = math.fsum((score - mean) ** 2 for score in scores) / max(count - 1, 1)
    half = _Z * math.sqrt(spread / count)
    return Measured(mean=mean, low=mean - half, high=mean + half)


def difference(differences: Sequence[float]) -> MeanDifference:
    """The mean of differences, with an interval by resampling them; the same for the same."""
    draw = random.Random(0)  # noqa: S311 - of a statistic
    count = len(differences)
    means = sorted(math.fsum(draw.choices(differences, k=count)) / count for _ in range(_RESAMPLES))
    return MeanDifference(
        mean=math.fsum(differences) / count,
        low=quantile(means, 0.025),
        high=quantile(means, 0.975),
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which a share of them lies; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
