"""Tools that plan: later dates, durations, holidays, rules, free time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import MAXYEAR, UTC, date, datetime, time, timedelta
from functools import cache
from itertools import islice
from typing import Annotated, Any

from pydantic import BaseModel, Field

from agents.tools.calls import ToolError, WaitsUntilError
from agents.toolsets.builtin.business import add_business_days, holidays_of
from agents.toolsets.builtin.dates import Country, Moment, Zone, described
from agents.toolsets.builtin.moments import Duration, date_of, duration_of, time_of, unread_zones
from agents.toolsets.builtin.offer import offer

_WEEKDAYS_MOST = 10_000
_DAY = "(?:[+-]?[1-4])?(?:MO|TU|WE|TH|FR|SA|SU)"
#: Rules that are followed. dateutil looks for the next time up to the year 9999 without a word, so
#: these parts are such that there always is one soon, or that the search is short.
_RULE_PARTS = {
    "FREQ": "YEARLY|MONTHLY|WEEKLY|DAILY|HOURLY",
    "INTERVAL": r"[1-9]\d{0,2}",
    "COUNT": r"[1-9]\d{0,2}",
    "BYDAY": rf"{_DAY}(?:,{_DAY})*",
    "BYMONTH": r"(?:[1-9]|1[0-2])(?:,(?:[1-9]|1[0-2]))*",
    "BYMONTHDAY": r"-?(?:[1-9]|[12]\d|3[01])(?:,-?(?:[1-9]|[12]\d|3[01]))*",
    "BYHOUR": r"(?:1?\d|2[0-3])(?:,(?:1?\d|2[0-3]))*",
    "BYMINUTE": r"[1-5]?\d(?:,[1-5]?\d)*",
}
_EVERY_MONTH_HAS = 28
_WAITS_MOST = timedelta(days=31)
#: Years in which cronsim looks for a time.
_YEARS_MOST = 50


class TakenTime(BaseModel):
    """A time that is taken."""

    start: str
    end: str


@offer(
    {"date": "2026-01-31", "duration": "P1M"},
    "holidays",
    inline=150,
    unless=lambda given: given["country"] or abs(given["business_days"]) > 100,  # noqa: PLR2004
)
def add_to_date(
    date: Moment,
    duration: Annotated[str, Field(max_length=100)] = "P0D",
    business_days: Annotated[int, Field(ge=-_WEEKDAYS_MOST, le=_WEEKDAYS_MOST)] = 0,
    country: Country | None = None,
    region: str | None = None,
) -> dict[str, Any]:
    """Adds a duration (P1M2D, -P1W, 90 minutes) to a date, and then business days of a country."""
    found = duration_of(duration).after(date_of(date))
    try:
        return described(add_business_days(found, business_days, country, region))
    except OverflowError:
        raise ToolError("There are only the years 1 to 9999.") from None


@offer({"text": "1 hour 30 minutes"}, inline=100)
def parse_duration(text: Annotated[str, Field(max_length=100)]) -> dict[str, Any]:
    """Reads a duration: P1DT2H, 1 day 2 hours, or seconds; gives it in seconds, ISO and words."""
    found = duration_of(text)
    told: dict[str, Any] = {"iso": _iso(found), "words": _words(found)}
    if not found.months:
        told["seconds"] = found.seconds
    return told


@offer({"country": "DE", "year": 2026, "region": "BY"}, "holidays")
def list_holidays(
    country: Country,
    year: Annotated[int, Field(ge=1900, le=2100)],
    region: str | None = None,
) -> list[dict[str, str]]:
    """Lists the public holidays of a country, or of a region of it, in a year."""
    found = holidays_of(country, region, year)
    return [{"date": str(day), "weekday": f"{day:%A}", "name": n} for day, n in found.items()]


@offer({"rule": "0 9 * * MON", "after": "2026-05-04T10:00", "zone": "Europe/Berlin"}, "cronsim")
def next_times(
    rule: Annotated[str, Field(max_length=300)],
    after: Moment,
    zone: Zone = "UTC",
    count: Annotated[int, Field(ge=1, le=100)] = 5,
) -> list[str]:
    """Lists the next times of a cron line (0 9 * * MON) or an RRULE (FREQ=WEEKLY;BYDAY=MO)."""
    start = time_of(after, zone)
    times = _by_rrule(rule, start) if "FREQ=" in rule.upper() else _by_cron(rule, start)
    found: list[str] = []
    try:
        found.extend(moment.isoformat() for moment in islice(times, count))
    except OverflowError:  # what was found before is told, as where a rule ends by itself
        if not found:
            raise ToolError(f"No such time comes before the year {MAXYEAR + 1}.") from None
    return found


@offer(
    {
        "busy": [{"start": "2026-05-04T09:00", "end": "2026-05-04T10:00"}],
        "start": "2026-05-04T08:00",
        "end": "2026-05-04T12:00",
        "minutes": 60,
    },
    inline=500,
    unless=unread_zones,
)
def find_free_time(
    busy: Annotated[list[TakenTime], Field(max_length=10_000)],
    start: Moment,
    end: Moment,
    minutes: Annotated[int, Field(ge=1, le=100_000)] = 30,
    zone: Zone = "UTC",
) -> dict[str, Any]:
    """Finds the gaps of so many minutes in which all are free, the first one first."""
    first, last, least = time_of(start, zone), time_of(end, zone), timedelta(minutes=minutes)
    taken = sorted((time_of(s.start, zone), time_of(s.end, zone)) for s in busy)
    gaps, at = [], first
    for begins, ends in [*taken, (last, last)]:
        until = min(begins, last)
        if until - at >= least:
            gaps.append({"start": at.isoformat(), "end": until.isoformat()})
        at = max(at, ends)
    return {"first": gaps[0] if gaps else None, "free": gaps[:200]}


@offer({"time": "2024-05-04T10:00", "zone": "Europe/Berlin"}, inline=100, unless=unread_zones)
def wait_until(time: Moment, zone: Zone = "UTC") -> dict[str, Any]:
    """Waits until a time, up to 31 days ahead, and goes on then; at once where it is over."""
    until = time_of(time, zone)
    if (left := until - datetime.now(UTC)) > _WAITS_MOST:
        raise ToolError(f"{time[:100]!r} is in {left.days} days; it waits for up to 31.")
    told: dict[str, Any] = {"reached": until.isoformat(), "weekday": f"{until:%A}"}
    if left > timedelta(0):
        raise WaitsUntilError(until.timestamp(), told)
    return told


def _iso(found: Duration) -> str:
    sign = "-" if found.months < 0 or found.seconds < 0 else ""
    years, months = divmod(abs(found.months), 12)
    days, rest = divmod(abs(found.seconds), 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, seconds = divmod(rest, 60)
    day = "".join(f"{n:g}{u}" for n, u in ((years, "Y"), (months, "M"), (days, "D")) if n)
    clock = "".join(f"{n:.12g}{u}" for n, u in ((hours, "H"), (minutes, "M"), (seconds, "S")) if n)
    return f"{sign}P{day}{'T' + clock if clock else ''}" if day or clock else "PT0S"


def _words(found: Duration) -> str:
    text = _iso(found)
    day, _, clock = text.lstrip("-P").partition("T")
    told = []
    for part, names in ((day, {"Y": "year", "M": "month", "D": "day"}), (clock, _CLOCK)):
        number = ""
        for letter in part:
            if letter in names:
                told.append(f"{number} {names[letter]}{'' if number == '1' else 's'}")
                number = ""
            else:
                number += letter
    return f"{'minus ' if text.startswith('-') else ''}{' '.join(told)}"


_CLOCK = {"H": "hour", "M": "minute", "S": "second"}


def _by_cron(rule: str, start: datetime) -> Iterator[datetime]:
    from cronsim import CronSimError

    try:
        yield from _leaping()(rule, start)
    except CronSimError as error:
        raise ToolError(f"{rule!r} is no cron line: {error}. Write e.g. 0 9 * * MON") from None


@cache
def _leaping() -> Callable[[str, datetime], Iterator[datetime]]:
    """Cronsim's times, found day by day where no clock is changed on the way."""
    from cronsim import CronSim

    class Leaping(CronSim):
        def advance(self) -> None:
            at = self.dt
            if at.tzinfo not in {None, UTC}:
                super().advance()
                return
            day, clock = at.date(), at.time()
            while (found := self._first(day, clock)) is None:
                if day.month in self.months:
                    day += timedelta(days=1)
                else:  # on to the next month
                    day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
                clock = time.min
                if day.year > at.year + _YEARS_MOST:
                    raise StopIteration
            self.dt = datetime.combine(day, found, at.tzinfo)

        def _first(self, day: date, clock: time) -> time | None:
            """The first time of a day from that one."""
            if day.month not in self.months or not self.match_day(day):
                return None
            hour, minute, second = clock.hour, clock.minute, clock.second
            found = (
                time(h, m, s)
                for h in sorted(self.hours)
                if h >= hour
                for m in sorted(self.minutes)
                if (h, m) >= (hour, minute)
                for s in sorted(self.seconds)
                if (h, m, s) >= (hour, minute, second)
            )
            return next(found, None)

    return Leaping


def _by_rrule(rule: str, start: datetime) -> Iterator[datetime]:
    from dateutil.rrule import rrulestr

    bare = rule.strip().upper().removeprefix("RRULE:").rstrip(";")
    parts = dict(part.partition("=")[::2] for part in bare.split(";"))
    for name, value in parts.items():
        if name not in _RULE_PARTS or not re.fullmatch(_RULE_PARTS[name], value):
            told = ", ".join(_RULE_PARTS)
            raise ToolError(f"{name}={value} is not followed here. There are {told}.")
    if _may_never_come(parts):
        raise ToolError("Such a time may never come. Use fewer parts, or FREQ=WEEKLY or MONTHLY.")
    try:
        found = rrulestr(bare, dtstart=start.replace(tzinfo=None))
    except ValueError as error:
        raise ToolError(f"{rule!r} is no RRULE: {error}") from None
    for moment in found:
        yield moment.replace(tzinfo=start.tzinfo)


def _may_never_come(parts: dict[str, str]) -> bool:
    """Return whether a rule may be one of a 30th of February, or of each 7th day if a Tuesday."""
    days = [abs(int(day)) for day in parts.get("BYMONTHDAY", "0").split(",")]
    if max(days) > _EVERY_MONTH_HAS and parts.keys() & {"BYMONTH", "BYDAY"}:
        return True
    stepped = parts["FREQ"] == "DAILY" and parts.get("INTERVAL", "1") != "1"
    stepped = stepped or parts["FREQ"] == "HOURLY"
    free = {"FREQ", "INTERVAL", "COUNT", "BYMINUTE"}
    free |= {"BYHOUR"} if parts["FREQ"] == "DAILY" else set()
    if stepped and parts.keys() - free:
        return True
    both = "BYDAY" in parts and "BYMONTHDAY" in parts
    return both and ("INTERVAL" in parts or "BYMONTH" in parts)


TOOLS = (add_to_date, parse_duration, list_holidays, next_times, find_free_time, wait_until)
