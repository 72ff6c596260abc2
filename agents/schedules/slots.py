"""The slots of a schedule: by a cron expression in a time zone, by an interval, or one alone.

Cron's rules for changes of the clock are Debian's, which cronsim has
(https://manpages.debian.org/cron#NOTES): what names an hour or a minute by number has each slot
once, what falls into an hour that is left out comes right behind it, and of an hour that comes
twice it has the first; what has a star in either goes by elapsed time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from celery_agents.contracts.flows.schedules import ScheduleRule
from celery_agents.errors import InvalidPayloadError

#: Fields of an expression. cronsim takes a sixth one, for which Debian's rules do not hold.
_FIELDS = 5


def slots(rule: ScheduleRule, after: float, begins_at: float) -> Iterator[float]:
    """The slots behind a moment, each in seconds since 1970, in their order.

    Args:
        rule: of the schedule.
        after: seconds since 1970.
        begins_at: since when there is that rule; intervals count from there.

    Raises:
        InvalidPayloadError: the expression or the zone is none.
    """
    if rule.cron is not None:
        return _of_cron(rule.cron, zone_of(rule.tz), after)
    if rule.every_s is not None:
        return _of_interval(rule.every_s, after, begins_at)
    return iter([] if rule.at is None or rule.at <= after else [rule.at])


def next_slot(rule: ScheduleRule, after: float, begins_at: float) -> float | None:
    """The first slot behind a moment; None: there is none. Raises as above."""
    return next(slots(rule, after, begins_at), None)


def first_slot(rule: ScheduleRule, now: float) -> float:
    """The first slot of a rule that begins now; a moment that is over is at once.

    Raises:
        InvalidPayloadError: as above, or it has none.
    """
    if rule.at is not None:
        return rule.at
    if (found := next_slot(rule, now, now)) is None:
        raise InvalidPayloadError(f"schedule: cron: {rule.cron} never comes.")
    return found


@lru_cache(maxsize=256)
def zone_of(name: str) -> ZoneInfo:
    """The zone of that name.

    Raises:
        InvalidPayloadError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not known; no name of a file, or that of a folder
        raise InvalidPayloadError(f"schedule: tz: there is no zone {name!r}.") from None


def _of_cron(expression: str, zone: ZoneInfo, after: float) -> Iterator[float]:
    if len(expression.split()) != _FIELDS:
        raise InvalidPayloadError(
            f"schedule: cron: {_FIELDS} fields are needed (minute, hour, day of the month, month, "
            f"day of the week), {expression!r} has {len(expression.split())}."
        )
    begin = datetime.fromtimestamp(after, UTC if zone.key == "UTC" else zone)
    try:
        found = CronSim(expression, begin)
    except CronSimError as error:
        raise InvalidPayloadError(f"schedule: cron: {expression!r}: {error}.") from None
    return _rising(found, after)


def _rising(found: Iterator[datetime], after: float) -> Iterator[float]:
    """Leave out what is not behind the one before.

    Within an hour that comes twice, cronsim begins in its first one.
    """
    for at in found:
        if (slot := at.timestamp()) > after:
            yield slot
            after = slot


def _of_interval(every_s: float, after: float, begins_at: float) -> Iterator[float]:
    number = max(math.floor((after - begins_at) / every_s), 0) + 1
    while True:
        slot = begins_at + number * every_s
        if slot > after:  # the division may have been rounded
            yield slot
        number += 1


def due(
    rule: ScheduleRule, next_at: float, now: float, begins_at: float, most: int
) -> tuple[list[float], float | None]:
    """The slots from ``next_at`` up to now, so many at the most, and the one behind them.

    Raises:
        InvalidPayloadError: the rule cannot be read any more.
    """
    if next_at > now:
        return [], next_at
    found = [next_at]
    for slot in islice(slots(rule, next_at, begins_at), most):
        if slot > now or len(found) == most:
            return found, slot
        found.append(slot)
    return found, None
