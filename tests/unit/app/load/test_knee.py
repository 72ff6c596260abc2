"""The knee of a service whose capacity is known, since it is simulated."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from app.load.arrivals import due, endurance
from app.load.knee import Stage, find_knee, judged
from app.load.sent import TimedRequest
from tests.support.drawn import costly


def served(rate: float, seconds: float, slots: int, takes_s: float) -> list[TimedRequest]:
    """Requests of a stage, by slots that each take so long for one."""
    free = [0.0] * slots
    found = []
    for number, at in enumerate(due(endurance((rate, rate), seconds))):
        begin = max(at, min(free))
        free[free.index(min(free))] = begin + takes_s
        found.append(TimedRequest(str(number), at, begin + takes_s, "succeeded"))
    return found


@settings(max_examples=costly(40, part=2))
@given(st.integers(1, 16), st.floats(0.05, 1.0), st.floats(1, 20))
def test_it_is_within_a_tenth(slots: int, takes_s: float, first: float) -> None:
    seconds = 20.0

    def stage(rate: float) -> Stage:
        return judged(rate, seconds, served(rate, seconds, slots, takes_s))

    capacity = slots / takes_s
    knee = find_knee(stage, first, 10_000)
    assert knee is not None
    assert abs(knee.rate - capacity) <= 0.1 * capacity
    assert knee.not_held is not None
    assert knee.not_held > knee.rate


def test_a_service_that_holds_all_has_none_below() -> None:
    def stage(rate: float) -> Stage:
        return judged(rate, 5, served(rate, 5, 100, 0.01))

    knee = find_knee(stage, 10, 40)
    assert knee is not None
    assert (knee.rate, knee.held, knee.not_held) == (40, 40, None)


def test_a_test_that_has_to_end_finds_what_it_can() -> None:
    assert find_knee(lambda _: None, 10, 40) is None
    stages = iter([judged(10, 10, served(10, 10, 1, 0.5)), None])
    knee = find_knee(lambda _: next(stages), 10, 40)
    assert knee is not None
    assert (round(knee.rate, 1), knee.held, knee.not_held) == (2, None, 10)
