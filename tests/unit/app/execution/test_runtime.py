from __future__ import annotations

import pytest

from app.execution.runtime import Outage


class Clock:
    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outage(clock: Clock) -> Outage:
    return Outage(7.0, 1.5, clock)


class TestOutage:
    """Leases of 7 s, beats each 1.5 s: others' leases may be over 4 s after our last beat."""

    def test_none(self, outage: Outage, clock: Clock) -> None:
        for _ in range(20):
            clock.at += 1.5
            assert not outage.lasts
            outage.heard(alive=True)
        assert not outage.lasts

    def test_it_lasts_while_nothing_is_heard(self, outage: Outage, clock: Clock) -> None:
        clock.at += 3.9
        assert not outage.lasts
        clock.at += 0.2
        assert outage.lasts  # also before our own heartbeat has noticed

    @pytest.mark.parametrize("alive", [True, False])
    def test_others_have_a_lease_s_time_to_come_back(
        self, outage: Outage, clock: Clock, alive: bool
    ) -> None:
        clock.at += 6.0 if alive else 3600.0
        outage.heard(alive=alive)
        for _ in range(4):
            assert outage.lasts
            clock.at += 1.5
            outage.heard(alive=True)
        clock.at += 1.1
        assert not outage.lasts

    def test_a_lease_that_was_ended_is_one(self, outage: Outage, clock: Clock) -> None:
        clock.at += 1.5
        outage.heard(alive=False)
        assert outage.lasts
