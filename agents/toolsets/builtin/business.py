"""Holidays of countries, and the days on which people work."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from functools import lru_cache

from agents.tools.calls import ToolError

_SATURDAY = 6
#: Days that are walked over: some 100 years.
_MAX_DAYS = 36_600
_YEARS = range(1900, 2101)
#: Of the names where there are any in it; else the library goes by the process's locale.
_LANGUAGE = "en_US"


@lru_cache(256)
def holidays_of(country: str, region: str | None, year: int) -> Mapping[date, str]:
    """The public holidays of a year, by their dates.

    Raises:
        ToolError: the country, the region or the year is not known.
    """
    import holidays

    if year not in _YEARS:
        raise ToolError(f"Holidays are known from {_YEARS[0]} to {_YEARS[-1]}.")
    try:
        found = holidays.country_holidays(
            country.upper(), subdiv=region, years=year, language=_LANGUAGE
        )
    except NotImplementedError as error:
        raise ToolError(
            f"There are no holidays of {country} {region or ''}: {error}"[:500]
        ) from None
    return dict(sorted(found.items()))


def works(day: date, country: str, region: str | None = None) -> bool:
    """Return whether people work on a day."""
    return day.isoweekday() < _SATURDAY and day not in holidays_of(country, region, day.year)


def add_business_days(start: date, count: int, country: str | None, region: str | None) -> date:
    """The day that is so many business days later; without a country, weekends alone are free."""
    step = timedelta(days=1 if count > 0 else -1)
    left = abs(count)
    while left:
        start += step
        if start.isoweekday() < _SATURDAY and (country is None or works(start, country, region)):
            left -= 1
    return start


def count_business_days(start: date, end: date, country: str) -> int:
    """The business days from one date up to another, without that; negative where it is earlier."""
    if abs((end - start).days) > _MAX_DAYS:
        raise ToolError("Business days are counted over 100 years at most.")
    sign = 1 if end >= start else -1
    first, last = min(start, end), max(start, end)
    days = (first + timedelta(days=n) for n in range((last - first).days))
    return sign * sum(works(day, country) for day in days)
