"""Windows of budgets are exact, whatever a zone does to its clocks."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.governance.windows import ENDLESS, Window, window

ZONES = (
    "Europe/Zurich",
    "America/New_York",
    "Australia/Lord_Howe",  # by half an hour
    "America/St_Johns",  # set at 00:01, until 2011
    "Asia/Kathmandu",
    "Pacific/Apia",  # without 30 December 2011
)
HOUR, DAY = 3600, 86_400


def at(zone: str, *when: int, fold: int = 0) -> int:
    return int(datetime(*when, tzinfo=ZoneInfo(zone), fold=fold).timestamp())  # type: ignore[arg-type, misc]  # of variable length


#: Zone, window, a moment by the zone's clock, the begin of its window, and how long that is.
TABLE = [
    # Days of 23, 25 and 24.5 hours; one that has no midnight; one that begins twice.
    ("Europe/Zurich", "day", (2026, 3, 29, 12), (2026, 3, 29), 23 * HOUR),
    ("Europe/Zurich", "day", (2026, 10, 25, 12), (2026, 10, 25), 25 * HOUR),
    ("America/New_York", "day", (2026, 3, 8, 1), (2026, 3, 8), 23 * HOUR),
    ("America/New_York", "day", (2026, 11, 1, 23), (2026, 11, 1), 25 * HOUR),
    ("Australia/Lord_Howe", "day", (2026, 4, 5, 12), (2026, 4, 5), 49 * HOUR // 2),
    ("Africa/Cairo", "day", (2024, 4, 26, 12), (2024, 4, 26, 1), 23 * HOUR),
    ("America/St_Johns", "day", (2010, 11, 7, 12), (2010, 11, 7), 25 * HOUR),
    ("Pacific/Apia", "day", (2011, 12, 29, 12), (2011, 12, 29), DAY),
    ("Pacific/Apia", "day", (2011, 12, 31, 12), (2011, 12, 31), DAY),
    # Weeks begin on Monday.
    ("Europe/Zurich", "week", (2026, 3, 29, 23), (2026, 3, 23), 7 * DAY - HOUR),
    ("Asia/Kathmandu", "week", (2026, 1, 1), (2025, 12, 29), 7 * DAY),
    # Months, with a leap day and without.
    ("America/New_York", "month", (2024, 2, 29, 23, 59, 59), (2024, 2, 1), 29 * DAY),
    ("America/New_York", "month", (2025, 2, 28, 23, 59, 59), (2025, 2, 1), 28 * DAY),
    ("Europe/Zurich", "month", (2026, 3, 31, 23, 59, 59), (2026, 3, 1), 31 * DAY - HOUR),
    ("Asia/Kathmandu", "month", (2026, 4, 30, 23, 59, 59), (2026, 4, 1), 30 * DAY),
    ("Pacific/Apia", "month", (2011, 12, 31, 23, 59, 59), (2011, 12, 1), 30 * DAY),
    # Hours of the clock.
    ("Asia/Kathmandu", "hour", (2026, 1, 1, 5, 59), (2026, 1, 1, 5), HOUR),
    ("Europe/Zurich", "hour", (2026, 3, 29, 3, 30), (2026, 3, 29, 3), HOUR),
]


@pytest.mark.parametrize(("zone", "every", "now", "begin", "lasts"), TABLE)
def test_the_window_of_a_moment(
    zone: str, every: str, now: tuple[int, ...], begin: tuple[int, ...], lasts: int
) -> None:
    found = window(at(zone, *now), every, zone)
    full = (*begin, *(0 for _ in range(len(begin), 4)))
    assert found == Window(at(zone, *full), at(zone, *full) + lasts)


def test_an_hour_that_comes_twice_is_two_windows() -> None:
    zone = "Europe/Zurich"
    first, second = (at(zone, 2026, 10, 25, 2, 30, fold=fold) for fold in (0, 1))
    assert second - first == HOUR
    assert window(first, "hour", zone).ends_at == window(second, "hour", zone).starts_at


def test_the_day_before_a_second_midnight_is_the_new_one() -> None:
    zone = "America/St_Johns"
    again = at(zone, 2010, 11, 6, 23, 30, fold=1)  # after 00:01 of the seventh
    assert window(again, "day", zone).starts_at == at(zone, 2010, 11, 7, 0, 0)


def test_seconds_and_no_window() -> None:
    assert window(125.9, 60) == Window(120, 180)
    assert window(125.9, "none") == ENDLESS


@given(
    st.floats(0, 2_500_000_000),
    st.sampled_from(["hour", "day", "week", "month", 7, 86_400]),
    st.sampled_from([*ZONES, "UTC", "Asia/Beirut", "America/Havana", "Africa/Cairo"]),
)
def test_each_moment_is_in_one_window_and_they_follow_each_other(
    now: float, every: str | int, zone: str
) -> None:
    found = window(now, every, zone)
    assert found.ends_at is not None
    assert found.starts_at <= now < found.ends_at
    assert window(found.starts_at, every, zone) == found
    assert window(found.ends_at - 1, every, zone) == found
    assert window(found.ends_at, every, zone).starts_at == found.ends_at
    if every == "day":
        begins = datetime.fromtimestamp(found.starts_at, UTC).astimezone(ZoneInfo(zone))
        before = datetime.fromtimestamp(found.starts_at - 1, UTC).astimezone(ZoneInfo(zone))
        assert begins.date() > before.date()
