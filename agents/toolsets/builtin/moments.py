"""Dates, times and durations as tools take and give them: ISO 8601, in zones by their names."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agents.tools.calls import ToolError

_ISO_DURATION = re.compile(
    r"(?i)([-+]?)P(?:(\d{1,5})Y)?(?:(\d{1,6})M)?(?:(\d{1,6})W)?(?:(\d{1,7})D)?"
    r"(?:T(?:(\d{1,8})H)?(?:(\d{1,9})M)?(?:(\d{1,11}(?:\.\d{1,9})?)S)?)?"
)
_WORD = re.compile(r"(?i)(\d{1,9}(?:\.\d{1,9})?)\s*([a-zµ]+)")
_UNITS = {
    **dict.fromkeys(("y", "yr", "yrs", "year", "years"), "years"),
    **dict.fromkeys(("mo", "mon", "month", "months"), "months"),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), "weeks"),
    **dict.fromkeys(("d", "day", "days"), "days"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "hours"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "minutes"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "seconds"),
}
_NAMES = ("years", "months", "weeks", "days", "hours", "minutes", "seconds")
_SECONDS = {"weeks": 604_800, "days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}


class Duration(NamedTuple):
    """A duration of the calendar: months have no length of their own."""

    months: int
    seconds: float

    def after(self, start: date) -> date:
        """The moment that is this much later; the 31st of a shorter month is its last day."""
        try:
            found = _months_later(start, self.months)
            if isinstance(found, datetime):
                return (found.astimezone(UTC) + timedelta(seconds=self.seconds)).astimezone(
                    found.tzinfo
                )
            days, rest = divmod(self.seconds, 86_400)
            if rest:
                raise ToolError("Hours are added to a time: give one, like 2026-05-04T10:00.")
            return date.fromordinal(found.toordinal() + int(days))
        except (OverflowError, ValueError):
            raise ToolError("There are only the years 1 to 9999.") from None


def _months_later(start: date, months: int) -> date:
    years, month = divmod(start.month - 1 + months, 12)
    year = start.year + years
    last = monthrange(year, month + 1)[1]
    return start.replace(year=year, month=month + 1, day=min(start.day, last))


def duration_of(text: str) -> Duration:
    """Read ``P1DT2H``, ``1 day 2 hours`` or seconds.

    Raises:
        ToolError: it is none.
    """
    written = text.strip()
    if re.fullmatch(r"[-+]?\d{1,11}(\.\d{1,9})?", written):
        return Duration(0, float(written))
    iso = _ISO_DURATION.fullmatch(written)
    if iso and any(iso.groups()[1:]):
        sign = -1 if iso[1] == "-" else 1
        return _of(sign, zip(_NAMES, iso.groups()[1:], strict=True))
    parts = _WORD.findall(written)
    rest = _WORD.sub("", written).replace("and", "").strip(" ,+-")
    units = [(_UNITS.get(unit.lower()), number) for number, unit in parts]
    if not parts or rest or not all(unit for unit, _ in units):
        raise ToolError(f"{written[:80]!r} is no duration. Write e.g. P1DT2H, or 1 day 2 hours.")
    return _of(-1 if written.startswith("-") else 1, ((str(u), n) for u, n in units))


def _of(sign: int, parts: Any) -> Duration:
    months, seconds = 0.0, 0.0
    for name, number in parts:
        if number is not None and name in {"years", "months"}:
            months += float(number) * (12 if name == "years" else 1)
        elif number is not None:
            seconds += float(number) * _SECONDS[name]
    if months != int(months):
        raise ToolError("Write parts of months and years in days.")
    return Duration(sign * int(months), sign * seconds)


def zone_of(name: str) -> ZoneInfo:
    """The zone of that name.

    Raises:
        ToolError: there is none.
    """
    if (known := _READ_ZONES.get(name)) is not None:
        return known
    try:
        found = _READ_ZONES[name] = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ToolError(f"There is no zone {name[:80]!r}. Write e.g. Europe/Berlin.") from None
    return found


def unread_zones(given: Mapping[str, Any]) -> bool:
    """Return whether arguments name a zone that is to be read from a file first."""
    named = {given[name] for name in ("zone", "from_zone", "to_zone") if name in given}
    return not named <= _READ_ZONES.keys()


#: Those that this process has read; there are some 600.
_READ_ZONES: dict[str, ZoneInfo] = {}


def date_of(text: str) -> date:
    """The date, or the time, that a text in ISO 8601 is.

    Raises:
        ToolError: it is none.
    """
    try:
        if "T" in text or " " in text.strip() or ":" in text:
            return datetime.fromisoformat(text.strip())
        return date.fromisoformat(text.strip())
    except ValueError:
        raise ToolError(
            f"{text[:80]!r} is no date of ISO 8601, like 2026-05-04 or 2026-05-04T10:00+02:00; "
            "parse_date reads others."
        ) from None


def time_of(text: str, zone: str) -> datetime:
    """The time that a text is; one without an offset is of the zone.

    Raises:
        ToolError: it is none.
    """
    found = date_of(text)
    if not isinstance(found, datetime):
        found = datetime(found.year, found.month, found.day)  # noqa: DTZ001 - below
    return found if found.tzinfo else found.replace(tzinfo=zone_of(zone))


_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?)?", re.ASCII)
_WRITTEN = re.compile(
    r"(?:(\d{1,2})(?:st|nd|rd|th)? )?([A-Za-z]{3,9})(?: (\d{1,2})(?:st|nd|rd|th)?)?,? (\d{4})"
    r"(?:,? (\d{1,2}):(\d{2})(?::(\d{2}))?)?",
    re.ASCII,
)
_MONTH_NAMES = (
    *("january", "february", "march", "april", "may", "june", "july", "august"),
    *("september", "october", "november", "december"),
)
_MONTHS = {
    part: number for number, name in enumerate(_MONTH_NAMES, 1) for part in (name, name[:3])
} | {"sept": 9}
_NAMED_MONTH = re.compile(
    rf"(?i)(?<![a-z])(?:{'|'.join(sorted(_MONTHS, key=len, reverse=True))})(?![a-z])"
)


def usual_date(text: str) -> date | None:
    """The date, or the time, that a text in one of the usual forms is.

    2026-05-04, 2026-05-04 10:30, 4 May 2026, May 4th, 2026, 10:30. None: it has another one, or is
    no date.
    """
    written = text.strip()
    try:
        if _ISO_DATE.fullmatch(written):
            return datetime.fromisoformat(written) if ":" in written else date_of(written)
        found = _WRITTEN.fullmatch(written)
        if found is None or (found[1] is None) == (found[3] is None):
            return None
        day = int(found[4]), _MONTHS[found[2].lower()], int(found[1] or found[3])
        if found[5] is None:
            return date(*day)
        return datetime(*day, int(found[5]), int(found[6]), int(found[7] or 0))  # noqa: DTZ001 - as it is written
    except (KeyError, ValueError, ToolError):
        return None


def names_month(text: str) -> bool:
    """Return whether a text has an English name of a month in it."""
    return _NAMED_MONTH.search(text) is not None


class LacksPartError(Exception):
    """A date lacks its day, month or year."""


class WholeDate(datetime):
    """A default for dateutil's reader, which asks it for itself with the parts that it has read."""

    def replace(self, **read: Any) -> datetime:  # type: ignore[override]  # as it is called there
        """The date of these parts.

        Raises:
            LacksPartError: the day, the month or the year is not among them.
        """
        found = datetime(2000, 1, 1).replace(**read)  # noqa: DTZ001 - all that counts was read
        if not {"year", "month", "day"} <= read.keys():
            raise LacksPartError
        return found


def local_problem(moment: datetime) -> str | None:
    """Say whether a local time of a zone comes twice, or never, as clocks are changed."""
    first, second = (moment.replace(fold=fold).utcoffset() for fold in (0, 1))
    if first == second or first is None or second is None:
        return None
    return "comes twice; the first is meant" if first > second else "is left out by the clock"
