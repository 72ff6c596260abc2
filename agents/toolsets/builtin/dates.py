"""Tools that look at dates."""

from __future__ import annotations

from calendar import isleap
from datetime import UTC, date, datetime
from email.utils import format_datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from agents.tools.calls import ToolError
from agents.toolsets.builtin.business import count_business_days, holidays_of
from agents.toolsets.builtin.moments import (
    LacksPartError,
    WholeDate,
    date_of,
    local_problem,
    names_month,
    time_of,
    unread_zones,
    usual_date,
    zone_of,
)
from agents.toolsets.builtin.offer import offer

Moment = Annotated[str, Field(max_length=100)]
Zone = Annotated[str, Field(max_length=100)]
Country = Annotated[str, Field(pattern="^[A-Za-z]{2}$")]
_WHOLE = WholeDate(2000, 1, 1)  # what is not written is not known
_DIRECTIVES = "aAbBdHIjmMpSUuVWGwyYzZ%f"


@offer({"zone": "Europe/Berlin"}, effects="idempotent", inline=100, unless=unread_zones)
def now(zone: Zone = "UTC") -> dict[str, Any]:
    """Tells the time now, with weekday, week and offset; tried again, the step sees the same."""
    return described(datetime.now(zone_of(zone)))


@offer({"text": "4 May 2026, 10:30"}, "dateutil", inline=60)
def parse_date(text: Moment, order: Literal["day", "month"] | None = None) -> dict[str, Any]:
    """Reads a date as people write it; of 04/05/2026 it asks for the order, and tells both."""
    if (usual := usual_date(text)) is not None:
        return described(usual)
    from dateutil.parser import ParserError, parse

    try:
        by_month = parse(text, dayfirst=False, default=_WHOLE)
        # Where the month has its name, there is one way to read it.
        by_day = by_month if names_month(text) else parse(text, dayfirst=True, default=_WHOLE)
    except LacksPartError:
        raise ToolError(f"{text!r} lacks a day, a month or a year.") from None
    except (ParserError, OverflowError, ValueError, TypeError) as error:
        raise ToolError(f"{text!r} is no date: {error}. Write e.g. 2026-05-04.") from None
    iso = text.strip()[:4].isdigit()
    if by_day != by_month and order is None and not iso:
        told = f"{by_day.date()} (order: day) or {by_month.date()} (order: month)"
        raise ToolError(f"{text!r} is {told}. Say which order it has.")
    found = by_month if iso or order == "month" else by_day
    timed = ":" in text or found.hour or found.minute
    return described(found if timed else found.date())


@offer({"date": "2026-05-04", "form": "%A, %d %B %Y"}, inline=150)
def format_date(date: Moment, form: Annotated[str, Field(max_length=100)] = "%A, %d %B %Y") -> str:
    """Writes a date in a form of strftime's, or as iso, rfc2822, week or unix."""
    found = date_of(date)
    at = time_of(date, "UTC")
    named = {
        "iso": found.isoformat(),
        "rfc2822": format_datetime(at),
        "week": "{}-W{:02}-{}".format(*found.isocalendar()),
        "unix": str(int(at.timestamp())),
    }
    if form in named:
        return named[form]
    parts = form.split("%")[1:]
    if any(part and part[0] not in _DIRECTIVES for part in parts if part):
        raise ToolError(f"The form has a directive that is none of % with one of {_DIRECTIVES}")
    return found.strftime(form)


@offer(
    {"date": "2026-12-25", "country": "DE"},
    "holidays",
    inline=60,
    unless=lambda given: given["country"] is not None,
)
def describe_date(
    date: Moment, country: Country | None = None, region: str | None = None
) -> dict[str, Any]:
    """Describes a date: weekday, week, day of the year, quarter, leap year, its holiday."""
    found = date_of(date)
    told = described(found)
    if country is not None:
        holiday = holidays_of(country, region, found.year).get(_day(found))
        told |= {"holiday": holiday, "business_day": not holiday and found.isoweekday() < 6}  # noqa: PLR2004 - Saturday
    return told


@offer(
    {"start": "2026-05-04", "end": "2026-06-01", "country": "DE"},
    "dateutil",
    "holidays",
    inline=150,
    unless=lambda given: given["country"] is not None or unread_zones(given),
)
def date_difference(
    start: Moment, end: Moment, country: Country | None = None, zone: Zone = "UTC"
) -> dict[str, Any]:
    """Tells how far two dates are apart: by the calendar, in days and seconds, in business days."""
    from dateutil.relativedelta import relativedelta

    first, last = time_of(start, zone), time_of(end, zone)
    apart = relativedelta(last.astimezone(first.tzinfo), first)
    seconds = (last.astimezone(UTC) - first.astimezone(UTC)).total_seconds()
    days = (_day(last) - _day(first)).days
    parts = ("years", "months", "days", "hours", "minutes", "seconds")
    told: dict[str, Any] = {
        "calendar": {name: getattr(apart, name) for name in parts if getattr(apart, name)},
        "days": days,
        "weeks": round(days / 7, 2),
        "seconds": seconds,
    }
    if country is not None:
        told["business_days"] = count_business_days(_day(first), _day(last), country)
    return told


@offer(
    {"time": "2026-05-04T10:00", "from_zone": "Europe/Berlin", "to_zone": "Asia/Tokyo"},
    inline=150,
    unless=unread_zones,
)
def convert_timezone(time: Moment, from_zone: Zone, to_zone: Zone) -> dict[str, Any]:
    """Converts a local time between zones, and says where it comes twice or is left out."""
    start = time_of(time, from_zone)
    there = start.astimezone(UTC).astimezone(zone_of(to_zone))
    told = {"from": start.isoformat(), "to": there.isoformat(), "weekday": f"{there:%A}"}
    if (problem := local_problem(start)) is not None:
        told["warning"] = f"This local time {problem}."
    return told


def described(moment: date) -> dict[str, Any]:
    """A date as tools give it."""
    year, week, _ = moment.isocalendar()
    told = {
        "iso": _whole(moment).isoformat(),
        "weekday": f"{moment:%A}",
        "week": f"{year}-W{week:02}",
        "day_of_year": moment.toordinal() - date(moment.year, 1, 1).toordinal() + 1,
        "quarter": (moment.month + 2) // 3,
        "leap_year": isleap(moment.year),
    }
    if isinstance(moment, datetime) and moment.tzinfo is not None:
        told |= {"zone": str(moment.tzinfo), "summer_time": bool(moment.dst())}
        told["unix_s"] = int(moment.timestamp())
    return told


def _whole(moment: date) -> date:
    return moment.replace(microsecond=0) if isinstance(moment, datetime) else moment


def _day(moment: date) -> date:
    return moment.date() if isinstance(moment, datetime) else moment


TOOLS = (now, parse_date, format_date, describe_date, date_difference, convert_timezone)
