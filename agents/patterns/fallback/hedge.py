"""Hedging: when a slow candidate is joined by the next, by live latency, with a cap."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from celery_agents.contracts.fallback import Hedge

_FLOOR_S = 0.001  # anything faster is in the first bucket
_GROWTH = 1.1  # of bucket edges: quantiles are right within 10 %
_BUCKETS = 192  # up to a day
_LEAST = 1e-3  # a bucket that has decayed below this is dropped


@dataclass(frozen=True, slots=True)
class Digest:
    """Recent latencies: a decayed histogram, bucket number -> weight. At most 192 entries."""

    weights: Mapping[int, float] = field(default_factory=dict)

    @property
    def samples(self) -> float:
        """How many latencies it stands for, decayed."""
        return sum(self.weights.values())


def observe(digest: Digest, latency_s: float, *, half_life: float) -> Digest:
    """The digest after one more latency; one that came ``half_life`` latencies ago counts half.

    A candidate that was cancelled because another was faster is observed with the time it had
    taken by then: too little, but leaving it out would make slow candidates look fast.
    """
    kept = 0.5 ** (1 / half_life)
    weights = {
        bucket: weight * kept for bucket, weight in digest.weights.items() if weight * kept > _LEAST
    }
    bucket = _bucket(latency_s)
    weights[bucket] = weights.get(bucket, 0.0) + 1.0
    return Digest(weights)


def quantile(digest: Digest, q: float) -> float | None:
    """The latency in seconds below which a share ``q`` of the digest lies; None when empty.

    It is the upper edge of its bucket, so it errs by 10 % at most, and upwards.
    """
    wanted = q * digest.samples
    reached = 0.0
    for bucket in sorted(digest.weights):
        reached += digest.weights[bucket]
        if reached >= wanted:
            return _FLOOR_S * _GROWTH**bucket
    return None


def delay_s(digest: Digest, settings: Hedge) -> float:
    """Seconds after which the next candidate starts beside this one."""
    live = quantile(digest, settings.quantile)
    # A decayed count never exceeds 1 / (1 - kept): with a short half-life that is the limit.
    known = digest.samples >= min(settings.min_samples, settings.half_life)
    return live if known and live is not None else settings.delay_s


@dataclass(frozen=True, slots=True)
class Hedges:
    """How many requests a chain had and how many hedges it started, decayed alike."""

    requests: float = 0.0
    hedges: float = 0.0


def count_request(counts: Hedges, settings: Hedge) -> Hedges:
    """The counts after one more request of the chain."""
    kept = 0.5 ** (1 / settings.half_life)
    return Hedges(counts.requests * kept + 1.0, counts.hedges * kept)


def may_hedge(counts: Hedges, settings: Hedge) -> bool:
    """Return whether one more hedge keeps within the share. The request is counted already."""
    return counts.hedges + 1.0 <= settings.share * counts.requests


def count_hedge(counts: Hedges) -> Hedges:
    """The counts after one more hedge."""
    return Hedges(counts.requests, counts.hedges + 1.0)


def _bucket(latency_s: float) -> int:
    if latency_s <= _FLOOR_S:
        return 0
    return min(math.ceil(math.log(latency_s / _FLOOR_S, _GROWTH)), _BUCKETS - 1)
