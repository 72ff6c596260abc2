"""Requests are due at their times, as many as the rates say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.load.arrivals import PROFILES, Phase, due

RATES = st.floats(0.5, 200)


@pytest.mark.parametrize(
    ("phases", "times"),
    [
        ([Phase(2, 2, 2)], [0, 0.5, 1, 1.5]),
        ([Phase(1, 1, 1), Phase(1, 2, 2)], [0, 1, 1.5]),
        ([Phase(2, 1, 3)], [0, 0.7320508, 1.2360680, 1.6457513]),
        ([], []),
    ],
)
def test_times(phases: list[Phase], times: list[float]) -> None:
    assert list(due(phases)) == pytest.approx(times)


@given(st.sampled_from(sorted(PROFILES)), RATES, RATES, st.floats(1, 20))
def test_every_profile(name: str, one: float, other: float, seconds: float) -> None:
    phases = PROFILES[name]((min(one, other), max(one, other)), seconds)
    found = list(due(phases))
    assert found == sorted(found)
    assert all(0 <= at <= seconds + 1e-6 for at in found)
    assert abs(len(found) - sum(phase.total for phase in phases)) <= 1 + 1e-6
