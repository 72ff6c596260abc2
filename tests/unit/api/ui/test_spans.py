"""The line of time of a page: round while a run goes on, exact when it is over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from api.ui.spans import Span, axis

_SECONDS = st.floats(min_value=0.0, max_value=10.0**9)


@given(_SECONDS)
def test_a_line_holds_its_run_and_two_thirds_of_it_are_in_use(seconds: float) -> None:
    length = axis(seconds)
    assert length * (1 + 1e-9) >= seconds
    assert length == 1.0 or seconds >= 0.66 * length


@given(_SECONDS, _SECONDS)
def test_a_longer_run_has_no_shorter_line(one: float, other: float) -> None:
    short, long = sorted((one, other))
    assert axis(short) <= axis(long)


def test_a_line_stays_while_the_clock_goes_on() -> None:
    assert len({Span.of(100.0, None, 100.0 + s / 100).end for s in range(1000)}) <= 10


def test_a_line_of_a_run_that_is_over_ends_with_it() -> None:
    assert Span.of(100.0, 103.3, 500.0).end == 103.3
