"""When requests are due: by a profile, whatever became of those before.

A tester that waits for an answer before it asks again falls silent exactly while the service is
slow, and so does not see it. Here a request is due at its time, and its latency counts from there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Phase(NamedTuple):
    """Requests a second that grow or fall evenly, for so many seconds."""

    seconds: float
    first: float
    last: float

    @property
    def total(self) -> float:
        """How many are due in it."""
        return self.seconds * (self.first + self.last) / 2

    def at(self, number: float) -> float:
        """Return the second at which so many have become due."""
        slope = (self.last - self.first) / self.seconds
        if abs(slope) < _FLAT:
            return number / self.first
        root = math.sqrt(max(0.0, self.first**2 + 2 * slope * number))
        return (root - self.first) / slope


#: A slope below this is none.
_FLAT = 1e-9


def due(phases: Sequence[Phase]) -> Iterator[float]:
    """Yield the seconds, since the begin of the first phase, at which requests are due."""
    begin = before = 0.0
    number = 0
    for phase in phases:
        while number - before < phase.total - _FLAT:
            yield begin + phase.at(number - before)
            number += 1
        begin += phase.seconds
        before += phase.total


def endurance(rate: tuple[float, float], seconds: float) -> list[Phase]:
    """The same all the time, at the higher one of the rates."""
    return [Phase(seconds, rate[1], rate[1])]


def ramp(rate: tuple[float, float], seconds: float) -> list[Phase]:
    """From the first rate to the other one."""
    return [Phase(seconds, *rate)]


def spike(rate: tuple[float, float], seconds: float) -> list[Phase]:
    """The first rate, and for a fifth of the time, in its middle, the other one."""
    low, high = rate
    return [
        Phase(seconds * 2 / 5, low, low),
        Phase(seconds / 5, high, high),
        Phase(seconds * 2 / 5, low, low),
    ]


#: What is due by name; under ``stress`` it depends on what is found (app/load/knee.py).
PROFILES = {"ramp": ramp, "spike": spike, "endurance": endurance}
STRESS = "stress"
