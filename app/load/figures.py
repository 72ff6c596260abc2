"""Figures of a test: latencies from the due time, rates by the second, what workers hold."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from app.load.sent import TimedRequest

_MB = 1_000_000
_MINUTE_S = 60.0
#: Of a worker's samples, those of its start are left out: it grows until it has seen all once.
_WARM_UP = 1 / 3
#: Below so many samples a slope says nothing.
_SAMPLES_MIN = 5


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value at or below which this share of them is; 0 where there is none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


@dataclass(frozen=True)
class Second:
    """A second: requests that were due in it, and those that ended in it."""

    at: int
    due: int
    ended: int
    p50_s: float
    p99_s: float


def by_second(requests: Sequence[TimedRequest], begin: float) -> list[Second]:
    """Return each second of a test: latencies are of those that were due in it."""
    due: dict[int, list[float | None]] = defaultdict(list)
    ended: Counter[int] = Counter()
    for sent in requests:
        due[int(sent.due - begin)].append(sent.latency_s)
        if sent.ended is not None:
            ended[int(sent.ended - begin)] += 1
    last = max([*due, *ended], default=-1)
    found = []
    for at in range(last + 1):
        known = sorted(latency for latency in due[at] if latency is not None)
        middle, late = quantile(known, 0.5), quantile(known, 0.99)
        found.append(Second(at, len(due[at]), ended[at], middle, late))
    return found


@dataclass(frozen=True)
class WorkerMemory:
    """The memory of one worker: its first and last megabytes, and how many more a minute."""

    worker: str
    first_mb: float
    last_mb: float
    slope_mb_min: float | None


def held(samples: Sequence[tuple[float, dict[str, int]]]) -> list[WorkerMemory]:
    """Return the memory of each worker over a test; a slope where there are samples enough."""
    of: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for at, found in samples:
        for worker, size in found.items():
            of[worker].append((at, size / _MB))
    return [
        WorkerMemory(worker, points[0][1], points[-1][1], _slope(points))
        for worker, points in of.items()
    ]


def _slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Return the slope a minute, by least squares."""
    points = points[int(len(points) * _WARM_UP) :]
    if len(points) < _SAMPLES_MIN:
        return None
    middle = sum(at for at, _ in points) / len(points)
    mean = sum(size for _, size in points) / len(points)
    spread = sum((at - middle) ** 2 for at, _ in points)
    if spread <= 0:
        return None
    return _MINUTE_S * sum((at - middle) * (size - mean) for at, size in points) / spread
