"""The knee: how many requests a second a service can do, by asking for more and less of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.load.figures import quantile
from app.load.sent import TimedRequest

#: Of a stage's seconds, by which latencies may grow within it: five per cent too much makes them
#: grow by a thirtieth between its first third and its last one.
_GROWTH = 1 / 30
#: What is asked for below and above the knee, to see that it is one.
_BELOW, _ABOVE = 0.9, 1.1
_TRIES = 5


@dataclass(frozen=True)
class Stage:
    """So many requests a second for a while, and what became of them."""

    rate: float
    seconds: float
    #: Requests a second that ended while others waited.
    done_rate: float
    p50_s: float
    p99_s: float
    #: Whether latencies did not grow.
    held: bool


@dataclass(frozen=True)
class Knee:
    """The rate that is done, with one below that was held and one above that was not."""

    rate: float
    held: float | None
    not_held: float | None


def judged(rate: float, seconds: float, requests: Sequence[TimedRequest]) -> Stage:
    """Judge what became of the requests of a stage, in their order; they have had time to end."""
    latencies = [sent.latency_s for sent in requests]
    ended = sorted(sent.ended for sent in requests if sent.ended is not None)
    known = sorted(latency for latency in latencies if latency is not None)
    third = max(1, len(latencies) // 3)
    growth = _middle(latencies[-third:]) - _middle(latencies[:third])
    # In the middle: at the begin slots are empty, and at the end they become so.
    first, last = len(ended) // 5, len(ended) * 4 // 5
    span = ended[last] - ended[first] if last > first else 0.0
    return Stage(
        rate=rate,
        seconds=seconds,
        done_rate=(last - first) / span if span > 0 else 0.0,
        p50_s=quantile(known, 0.5),
        p99_s=quantile(known, 0.99),
        held=growth <= seconds * _GROWTH,
    )


def _middle(latencies: Sequence[float | None]) -> float:
    """Return their median; without an end within the time it is endless."""
    found = sorted(float("inf") if s is None else s for s in latencies)
    return found[len(found) // 2] if found else 0.0


def find_knee(stage: Callable[[float], Stage | None], first: float, most: float) -> Knee | None:
    """Double the rate until it is not held, then look around what was done there.

    ``stage`` is None where the test has to end. None: nothing was found until then.
    """
    rate, held = first, None
    while True:
        if (found := stage(rate)) is None:
            return None
        if not found.held:
            break
        held = rate
        if rate >= most:
            return Knee(rate, held, None)
        rate = min(2 * rate, most)
    knee, not_held = found.done_rate, rate
    for _ in range(_TRIES):
        if knee <= 0 or (below := stage(_BELOW * knee)) is None:
            break
        if not below.held:
            knee, not_held = min(below.done_rate, _BELOW * knee), below.rate
            continue
        held = below.rate
        if (above := stage(_ABOVE * knee)) is None:
            break
        if not above.held:
            not_held = above.rate
            knee = above.done_rate if held <= above.done_rate <= not_held else knee
            break
        knee, held = above.rate, above.rate
    return Knee(knee, held, not_held)
