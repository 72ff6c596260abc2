"""Slots of schedules: those of cronsim, wherever one begins to look."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from agents.schedules.slots import due, first_slot, next_slot, slots
from celery_agents.contracts.flows.schedules import ScheduleRule
from celery_agents.errors import InvalidPayloadError
from tests.support.drawn import in_turn

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # by half an hour
    "America/Santiago",  # at midnight
    "Asia/Kathmandu",
]
SPECS = [
    "* * * * *",
    "*/15 * * * *",
    "30 * * * *",
    "0 */2 * * *",
    "30 2 * * *",
    "15 0,1,2,3 * * *",
    "*/20 1-3 * * 0",
    "0 9 * * mon-fri",
    "59 23 * * sun#2",
    "0 0 1 * *",
    "0 12 L * *",
    "0 0 29 2 *",
]
#: So many come each hour or more often: three years of those would take minutes.
DENSE = 4
BEGIN, END = datetime(2025, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
DAY_S = 86_400.0


def moment(at: datetime, zone: str) -> datetime:
    return at.replace(tzinfo=UTC if zone == "UTC" else ZoneInfo(zone))


@cache
def changes(zone: str) -> list[float]:
    """The days on which a clock is changed."""
    days = [BEGIN.timestamp() + n * DAY_S for n in range(3 * 366)]
    at = [(day, datetime.fromtimestamp(day, ZoneInfo(zone)).utcoffset()) for day in days]
    return [day for (day, before), (_, after) in pairwise(at) if before != after]


@pytest.mark.parametrize(
    ("spec", "zone"),
    [(spec, zone) for n, spec in enumerate(SPECS[DENSE:]) for zone in in_turn(ZONES, n, part=3)],
)
def test_three_years_are_those_of_cronsim(zone: str, spec: str) -> None:
    """And each is found from the one before it, as a dispatcher looks for it."""
    begin, end = moment(BEGIN, zone), moment(END, zone).timestamp()
    rule = ScheduleRule(cron=spec, tz=zone)
    wanted = takewhile(lambda at: at < end, (at.timestamp() for at in CronSim(spec, begin)))
    found = [*takewhile(lambda at: at < end, slots(rule, begin.timestamp(), 0))]
    assert found == [*wanted]
    days = changes(zone)[:2]
    for before, after in pairwise(found):
        if any(abs(before - day) < 1.5 * DAY_S for day in days):
            assert next_slot(rule, before, 0) == after


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("spec", SPECS[:DENSE])
def test_so_are_those_of_the_days_on_which_clocks_change(zone: str, spec: str) -> None:
    rule = ScheduleRule(cron=spec, tz=zone)
    for day in changes(zone)[:2] or [moment(BEGIN, zone).timestamp()]:
        begin = datetime.fromtimestamp(day, moment(BEGIN, zone).tzinfo)
        wanted = [at.timestamp() for at in islice(CronSim(spec, begin), 300)]
        assert [*islice(slots(rule, day, 0), 300)] == wanted
        for before, after in list(pairwise(wanted))[::9]:
            assert next_slot(rule, before, 0) == after


@pytest.mark.parametrize("spec", ["30 * * * *", "*/30 * * * *", "15,45 2 * * *", "45 2,3 * * *"])
@pytest.mark.parametrize("minutes", range(0, 240, 30))
def test_no_slot_comes_before_where_one_looks(spec: str, minutes: int) -> None:
    """Within the hour that comes twice, too."""
    day = datetime(2025, 10, 26, 0, 5, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    after = day + 60 * minutes
    rule = ScheduleRule(cron=spec, tz="Europe/Berlin")
    found = [*islice(slots(rule, after, 0), 5)]
    assert found[0] > after
    assert found == sorted(set(found))


@pytest.mark.parametrize(
    ("spec", "day", "hours"),
    [
        ("30 2 * * *", (2025, 3, 30), [2.0]),  # 03:00, right behind the hour that is left out
        ("30 2 * * *", (2025, 10, 26), [2.5]),  # the first 02:30
        ("30 * * * *", (2025, 3, 30), [n + 0.5 for n in range(23)]),
        ("30 * * * *", (2025, 10, 26), [n + 0.5 for n in range(25)]),
        ("0 */6 * * *", (2025, 10, 26), [0.0, 7.0, 13.0, 19.0]),
        ("0 */2 * * *", (2025, 10, 26), [0.0, 2.0, 3.0, *range(5, 24, 2)]),
    ],
)
def test_rules_for_changes_of_the_clock(
    spec: str, day: tuple[int, int, int], hours: list[float]
) -> None:
    """By hours since midnight that have passed."""
    zone = ZoneInfo("Europe/Berlin")
    begin = datetime(*day, tzinfo=zone).timestamp()
    end = datetime(*day[:2], day[2] + 1, tzinfo=zone).timestamp()
    rule = ScheduleRule(cron=spec, tz=zone.key)
    found = takewhile(lambda at: at < end, slots(rule, begin - 1, 0))
    assert [(at - begin) / 3_600 for at in found] == hours


@given(
    every_s=st.floats(1, 1e6, allow_nan=False),
    begins_at=st.floats(1e9, 2e9),
    past_s=st.floats(-1e3, 1e7),
)
def test_intervals_count_from_their_begin(every_s: float, begins_at: float, past_s: float) -> None:
    after = begins_at + past_s
    rule = ScheduleRule(every_s=every_s)
    found = [*islice(slots(rule, after, begins_at), 4)]
    assert found[0] > max(after, begins_at)
    assert found[0] - after <= every_s * 1.001 + max(-past_s, 0) + 1e-6
    for before, at in pairwise(found):
        assert at - before == pytest.approx(every_s, abs=1e-3)
        assert next_slot(rule, before, begins_at) == at


def test_one_time() -> None:
    rule = ScheduleRule(at=50.0)
    assert first_slot(rule, 10.0) == first_slot(rule, 90.0) == 50.0
    assert due(rule, 50.0, 49.0, 0, 9) == ([], 50.0)
    assert due(rule, 50.0, 50.0, 0, 9) == ([50.0], None)


def test_so_many_at_the_most_and_the_next_one() -> None:
    rule = ScheduleRule(every_s=10.0)
    assert due(rule, 10.0, 35.0, 0, 9) == ([10.0, 20.0, 30.0], 40.0)
    assert due(rule, 10.0, 1e9, 0, 2) == ([10.0, 20.0], 30.0)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"cron": "61 * * * *"}, "Bad minute"),
        ({"cron": "* * * * * *"}, "5 fields are needed"),
        ({"cron": "0 0 30 2 *"}, "Bad day-of-month"),
        ({"cron": "0 0 * * *", "tz": "Mars/Base"}, "no zone 'Mars/Base'"),
        ({"cron": "0 0 * * *", "tz": "../etc/passwd"}, "no zone"),
        ({"cron": "0 0 29 2 mon#6"}, "Bad day-of-week"),
    ],
)
def test_what_cannot_be_read(rule: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidPayloadError, match=told):
        first_slot(ScheduleRule.read(rule), 0.0)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({}, "one of cron, every_s, at"),
        ({"every_s": 5.0, "at": 3.0}, "no two"),
        ({"every_s": 0.5}, "every_s"),
        ({"every_s": 5.0, "tz": "Europe/Berlin"}, "for cron alone"),
        ({"every_s": 5.0, "overlap": "both"}, "overlap"),
        ({"each": 5.0}, "each"),
        ([], "schedule"),
    ],
)
def test_what_is_no_rule(rule: object, told: str) -> None:
    with pytest.raises(InvalidPayloadError, match=told):
        ScheduleRule.read(rule)
