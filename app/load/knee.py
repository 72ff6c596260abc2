"""The knee: how many requests a second a service can do, by asking for more and less of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.load.figures import quantile
from app.load.sent import TimedRequest

#: Of a stage's seconds, by which latencies may grow within it: five per cent too much makes them
#: grow by a thirtieth between its first third and its last one.
_GROWTH = 1 / 30
#: So many standard errors of that growth are chance.
_CHANCE = 2.0
#: A normal distribution's standard deviation by its quartiles, and the error of its median by that.
_BY_QUARTILES, _OF_MEDIAN = 0.741, 1.253
#: Of a stage's requests, what may go wrong by itself; where more does, it does not hold so many.
WRONG = 0.05
#: Requests of a stage at the least, however long it takes until they are due.
REQUESTS_MIN = 40
#: The share of a stage that it takes to see the double of what can be done.
_COARSE = 1 / 4
#: What is asked for below and above the knee, and what is near enough to it.
_BELOW, _ABOVE = 0.92, 1.08
_NEAR = 0.1
_TRIES = 10
#: A service that does so much of what it is asked was disturbed, if it was not held: it is asked
#: once more.
_DONE = 0.96


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


#: Asks for so many a second, for this share of a stage; None where the test has to end.
Ask = Callable[[float, float], Stage | None]


def judged(
    rate: float,
    seconds: float,
    requests: Sequence[TimedRequest],
    *,
    refused: int = 0,
    wrong: float = WRONG,
) -> Stage:
    """Judge what became of the requests of a stage, in their order; they have had time to end.

    What failed is not done, however quickly it did, and what was refused was not even begun. Up to
    a share of ``wrong`` that is the agent's own affair.
    """
    done = [sent for sent in requests if sent.state == "succeeded"]
    asked = len(requests) + refused
    latencies = [math.inf if sent.ended is None else sent.ended - sent.due for sent in requests]
    known = sorted(latency for latency in latencies if latency < math.inf)
    third = max(1, len(latencies) // 3)
    first, last = _middle(latencies[:third]), _middle(latencies[-third:])
    return Stage(
        rate=rate,
        seconds=seconds,
        done_rate=_done_rate(sorted(sent.ended for sent in done if sent.ended is not None)),
        p50_s=quantile(known, 0.5),
        p99_s=quantile(known, 0.99),
        held=asked - len(done) <= wrong * asked
        and last[0] - first[0] <= seconds * _GROWTH + _CHANCE * math.hypot(first[1], last[1]),
    )


def _middle(latencies: Sequence[float]) -> tuple[float, float]:
    """Return their median and its standard error; without an end within the time it is endless."""
    found = sorted(latencies)
    middle, spread = quantile(found, 0.5), quantile(found, 0.75) - quantile(found, 0.25)
    if not spread < math.inf:
        return math.inf, 0.0
    return middle, _OF_MEDIAN * _BY_QUARTILES * spread / math.sqrt(max(1, len(found)))


def _done_rate(ended: Sequence[float]) -> float:
    """Return how many ended a second, by least squares: they may end many at once.

    In the middle: at the begin slots are empty, and at the end they become so.
    """
    times = ended[len(ended) // 5 : len(ended) * 4 // 5 + 1]
    if not times:
        return 0.0
    at, place = sum(times) / len(times), (len(times) - 1) / 2
    spread = sum((time - at) ** 2 for time in times)
    product = sum((time - at) * (n - place) for n, time in enumerate(times))
    return product / spread if spread > 0 else 0.0


def find_knee(ask: Ask, first: float, most: float) -> Knee | None:
    """Double the rate until it is not held, then look around what was done there.

    None: nothing was found until the test had to end.
    """
    rate, held = first, None
    while (found := _asked(ask, rate, _COARSE)) is not None and found.held:
        held = rate
        if rate >= most:
            break
        rate = min(2 * rate, most)
    if found is None or found.held:
        return None if held is None else Knee(held, held, None)
    knee = max(min(found.done_rate, rate), held or 0.0)
    return _around(ask, knee, most) if knee > 0 else None


def _asked(ask: Ask, rate: float, share: float) -> Stage | None:
    """Ask; once more where the service was disturbed."""
    found = ask(rate, share)
    if found is not None and not found.held and found.done_rate >= _DONE * rate:
        return ask(rate, share) or found
    return found


def _around(ask: Ask, knee: float, most: float) -> Knee | None:
    """Look for a rate that is held and one that is not, near to each other.

    Of two stages that contradict each other the later one counts. None: it holds none, however few
    it is asked for.
    """
    held: float | None = None
    not_held: float | None = None
    step = _ABOVE - 1
    for _ in range(_TRIES):
        if not_held is None or not_held > (1 + _NEAR) * knee:
            rate = min((1 + step) * knee, most)
        elif held is None or held < (1 - _NEAR) * knee:
            rate = _BELOW * knee
        else:
            break
        if knee <= 0 or (found := _asked(ask, rate, 1.0)) is None:
            break
        if found.held:
            held, knee, step = rate, max(knee, rate), 2 * step
            if rate >= most:
                return Knee(rate, held, None)
            not_held = None if not_held is not None and not_held <= rate else not_held
        else:
            not_held, step = rate, _ABOVE - 1
            held = None if held is not None and held >= rate else held
            knee = max(min(found.done_rate, rate), held or 0.0)
    else:
        return None if held is None else Knee(knee, held, not_held)
    return Knee(knee, held, not_held)
