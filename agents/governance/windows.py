"""Windows of budgets: of a calendar in a time zone, or of so many seconds.

A window is part of the name of an account, so nothing is ever reset. Each moment is in one window,
and windows follow each other without a gap, whatever a zone does to its clocks: a day begins at
the first moment at which its date is on the clock, though that may be 01:00, or come twice.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

_HOUR_S = 3_600


class Window(NamedTuple):
    """Its begin and its end, which is the next one's begin, in seconds since 1970."""

    starts_at: int
    ends_at: int | None  # None: never

    def has(self, now: float) -> bool:
        """Return whether a moment is in it."""
        return self.starts_at <= now and (self.ends_at is None or now < self.ends_at)


ENDLESS = Window(0, None)
#: The newest window of each kind: what asks a thousand times a second is in the same one.
_newest: dict[tuple[str, str], tuple[int, int, Window]] = {}


def window(now: float, every: str | int, zone: str = "UTC") -> Window:
    """The window that a moment, in seconds since 1970, is in."""
    second = int(now // 1)
    if isinstance(every, int):
        start = second - second % every
        return Window(start, start + every)
    if every == "none":
        return ENDLESS
    known = _newest.get((every, zone))
    if known is None or not known[0] <= second < known[1]:
        place = ZoneInfo(zone)
        hourly = every == "hour"
        found = _hour(second, place) if hourly else _of_days(second, place, *_PERIODS[every])
        assert found.ends_at is not None
        known = _newest[every, zone] = found.starts_at, found.ends_at, found
    return known[2]


def _day(of: date) -> date:
    return of


def _week(of: date) -> date:
    return of - timedelta(days=of.weekday())


def _month(of: date) -> date:
    return of.replace(day=1)


#: The first day of the period that a date is in, and days that lead from that into the next one.
_PERIODS: dict[str, tuple[Callable[[date], date], int]] = {
    "day": (_day, 1),
    "week": (_week, 7),
    "month": (_month, 31),
}


def _of_days(second: int, zone: ZoneInfo, first: Callable[[date], date], days: int) -> Window:
    begins = first(_clock(second, zone).date())
    start, follows = _begin(begins, zone), first(begins + timedelta(days=days))
    end = _begin(follows, zone)
    if end <= second:  # midnight was there already, and the clock was put back behind it
        start, end = end, _begin(first(follows + timedelta(days=days)), zone)
    return Window(start, end)


def _begin(day: date, zone: ZoneInfo) -> int:
    """The first moment at which a date is on the clock."""
    midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - as the clock shows it
    usual = [int(midnight.replace(tzinfo=zone, fold=fold).timestamp()) for fold in (0, 1)]
    earliest, latest = min(usual), max(usual)
    if earliest == latest or _clock(earliest, zone) == midnight:
        return earliest
    return _first(earliest, latest, lambda at: _clock(at, zone) >= midnight)


def _hour(second: int, zone: ZoneInfo) -> Window:
    """An hour of the clock; one in which the clock is set ends there, and another one begins."""
    offset = _offset(second, zone)
    start = second - (second + offset) % _HOUR_S
    end = start + _HOUR_S
    if _offset(start, zone) != offset:
        start = _first(start, second, lambda at: _offset(at, zone) == offset)
    if _offset(end - 1, zone) != offset:
        end = _first(second, end - 1, lambda at: _offset(at, zone) != offset)
    return Window(start, end)


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The first second of which it holds, as it does of ``high`` and all before that from there."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def _clock(second: int, zone: ZoneInfo) -> datetime:
    """The time that the clock of a zone shows."""
    return datetime.fromtimestamp(second, UTC).astimezone(zone).replace(tzinfo=None, fold=0)


def _offset(second: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(second, UTC).astimezone(zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())
