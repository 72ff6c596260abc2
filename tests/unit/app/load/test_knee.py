"""The knee of a service whose capacity is known, since it is simulated."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from app.load.arrivals import due, endurance
from app.load.knee import REQUESTS_MIN, Stage, find_knee, judged
from app.load.sent import TimedRequest
from tests.support.drawn import costly

#: Seconds of a stage, as ``--for 20``.
STAGE_S = 20.0


def served(
    rate: float, seconds: float, slots: int, takes_s: float, chance: Random | None = None
) -> list[TimedRequest]:
    """Requests of a stage, by slots that each take so long for one; by chance up to twice it."""
    free = [0.0] * slots
    found = []
    for number, at in enumerate(due(endurance((rate, rate), seconds))):
        begin = max(at, min(free))
        took = takes_s if chance is None else takes_s * chance.uniform(0.5, 1.5)
        free[free.index(min(free))] = begin + took
        found.append(TimedRequest(str(number), at, begin + took, "succeeded"))
    return found


def stood_still(requests: list[TimedRequest], since: float, seconds: float) -> list[TimedRequest]:
    """The same, where nothing ended for some seconds: all behind that are late by as much."""
    late = [r.ended + seconds if r.ended and r.ended >= since else r.ended for r in requests]
    return [TimedRequest(r.run_id, r.due, e, r.state) for r, e in zip(requests, late, strict=True)]


class Service:
    """Stages of a service, as the command makes them."""

    def __init__(self, slots: int, takes_s: float, chance: Random | None = None) -> None:
        self.slots, self.takes_s, self._chance = slots, takes_s, chance
        self.stages: list[Stage] = []
        #: Numbers of stages in which it is disturbed.
        self.disturbed: set[int] = set()

    @property
    def capacity(self) -> float:
        """Requests a second."""
        return self.slots / self.takes_s

    def ask(self, rate: float, share: float) -> Stage:
        """One stage."""
        seconds = max(share * STAGE_S, REQUESTS_MIN / rate)
        found = served(rate, seconds, self.slots, self.takes_s, self._chance)
        if len(self.stages) in self.disturbed:
            found = stood_still(found, seconds / 2, seconds)
        self.stages.append(judged(rate, seconds, found))
        return self.stages[-1]


@settings(max_examples=costly(40, part=4))
@given(st.integers(1, 50), st.floats(0.05, 1.0), st.floats(1, 20))
def test_it_is_within_a_tenth(slots: int, takes_s: float, first: float) -> None:
    service = Service(slots, takes_s)
    knee = find_knee(service.ask, first, 10_000)
    assert knee is not None
    assert abs(knee.rate - service.capacity) <= 0.02 * service.capacity
    assert knee.held is not None
    assert knee.not_held is not None
    assert 0.88 * knee.rate <= knee.held <= knee.rate <= knee.not_held <= 1.12 * knee.rate


@settings(max_examples=costly(20, part=3))
@given(st.integers(4, 50), st.floats(0.05, 0.5), st.floats(1, 20))
def test_it_is_within_a_tenth_where_each_takes_another_time(
    slots: int, takes_s: float, first: float
) -> None:
    service = Service(slots, takes_s, Random(7))
    knee = find_knee(service.ask, first, 10_000)
    assert knee is not None
    assert abs(knee.rate - service.capacity) <= 0.1 * service.capacity


@settings(max_examples=costly(20, part=2))
@given(st.integers(1, 16), st.floats(0.05, 0.5), st.integers(0, 8))
def test_one_bad_moment_does_not_make_a_knee(slots: int, takes_s: float, at: int) -> None:
    """A stage in which all stands still is no proof: what was asked for was done."""
    service = Service(slots, takes_s)
    service.disturbed = {at}
    knee = find_knee(service.ask, 2, 10_000)
    assert knee is not None
    assert abs(knee.rate - service.capacity) <= 0.1 * service.capacity


def test_few_requests_of_a_wavering_service_are_no_queue() -> None:
    latencies = [0.2, 0.3, 0.2, 0.5, 0.9, 0.4, 0.3, 0.9, 0.8]
    few = [TimedRequest(str(n), float(n), n + s, "succeeded") for n, s in enumerate(latencies)]
    assert judged(1.0, 9.0, few).held


def test_a_queue_that_grows_is_seen() -> None:
    """Five per cent too much are not told from none; ten are, whatever a stage lasts."""
    for seconds in (6.0, STAGE_S, 60.0):
        stages = {m: judged(40 * m, seconds, served(40 * m, seconds, 4, 0.1)) for m in (0.98, 1.1)}
        assert {m: stage.held for m, stage in stages.items()} == {0.98: True, 1.1: False}


def test_what_does_not_end_in_time_is_not_held() -> None:
    requests = served(10, 10, 4, 0.1)
    for late in requests[-40:]:
        late.ended = None
    assert not judged(10, 10, requests).held


def refusing(rate: float, seconds: float, slots: int, takes_s: float) -> list[TimedRequest]:
    """A service whose requests fail at once while no slot is free, as a limit has it."""
    free = [0.0] * slots
    found = []
    for number, at in enumerate(due(endurance((rate, rate), seconds))):
        if min(free) <= at:
            free[free.index(min(free))] = at + takes_s
            found.append(TimedRequest(str(number), at, at + takes_s, "succeeded"))
        else:
            found.append(TimedRequest(str(number), at, at + 0.001, "failed"))
    return found


def test_what_fails_quickly_is_not_done() -> None:
    def ask(rate: float, share: float) -> Stage:
        seconds = max(share * STAGE_S, REQUESTS_MIN / rate)
        return judged(rate, seconds, refusing(rate, seconds, 8, 0.1))

    knee = find_knee(ask, 5, 10_000)
    assert knee is not None
    assert abs(knee.rate - 80) <= 8
    assert knee.not_held is not None


def failing(rate: float, every: int) -> list[TimedRequest]:
    found = served(rate, 10, 50, 0.1)
    return [TimedRequest(r.run_id, r.due, r.ended, "failed") if not n % every else r
            for n, r in enumerate(found)]  # fmt: skip


def test_a_share_of_failures_may_be_the_agents_own() -> None:
    assert judged(10, 10, failing(10, 25)).held
    assert not judged(10, 10, failing(10, 3)).held
    assert judged(10, 10, failing(10, 3), wrong=0.4).held
    assert find_knee(lambda rate, _: judged(rate, 10, failing(rate, 3)), 10, 10_000) is None


def test_what_no_broker_takes_is_not_done() -> None:
    assert not judged(10, 10, [], refused=100).held
    assert find_knee(lambda rate, _: judged(rate, 10, [], refused=100), 10, 10_000) is None


def test_a_service_that_holds_all_has_none_below() -> None:
    knee = find_knee(Service(100, 0.01).ask, 10, 40)
    assert knee is not None
    assert (knee.rate, knee.held, knee.not_held) == (40, 40, None)


def test_a_test_that_has_to_end_finds_what_it_can() -> None:
    assert find_knee(lambda *_: None, 10, 40) is None
    held, not_held = (judged(rate, 10, served(rate, 10, 1, 0.05)) for rate in (10, 40))
    stages = iter([held, None])
    knee = find_knee(lambda *_: next(stages), 10, 40)
    assert knee is not None
    assert (knee.rate, knee.held, knee.not_held) == (10, 10, None)
    stages = iter([not_held, None])
    knee = find_knee(lambda *_: next(stages), 40, 80)
    assert knee is not None
    assert (round(knee.rate, 1), knee.held, knee.not_held) == (20, None, None)
