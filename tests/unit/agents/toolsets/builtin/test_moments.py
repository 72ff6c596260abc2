"""Dates in the forms that most have, held against the reader of all others."""

from __future__ import annotations

import random
from datetime import date, datetime

import pytest
from dateutil.parser import parse
from dateutil.relativedelta import relativedelta

from agents.tools.calls import ToolError
from agents.toolsets.builtin.moments import Duration, names_month, usual_date
from tests.unit.agents.toolsets.builtin.support import called

FORMS = (
    *("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%d %B %Y", "%d %b %Y, %H:%M"),
    *("%B %d, %Y", "%b %d %Y %H:%M:%S", "%dth %B, %Y"),
)


@pytest.mark.parametrize("form", FORMS)
def test_usual_forms_are_read_as_others_are(form: str) -> None:
    chance = random.Random(form)
    for _ in range(100):
        moment = datetime(  # noqa: DTZ001 - as it is written
            *(chance.randint(1970, 2099), chance.randint(1, 12), chance.randint(1, 28)),
            *(chance.randrange(24), chance.randrange(60), chance.randrange(60)),
        )
        text = moment.strftime(form)
        found, wanted = usual_date(text), parse(text, default=datetime(2000, 1, 1))  # noqa: DTZ001
        assert found is not None
        assert found.isoformat() == (wanted if ":" in text else wanted.date()).isoformat()


@pytest.mark.parametrize(
    "text",
    [
        *("30 February 2026", "2026-02-30", "4 Mai 2026", "May 2026", "4 May 2026 25:00"),
        *("4 May 5 2026", "04/05/2026", "²026-05-04", ""),
    ],
)
def test_all_else_is_left_to_the_reader(text: str) -> None:
    assert usual_date(text) is None


@pytest.mark.parametrize("text", ["May 2026", "10:30", "4 May", "Monday", "2026"])
def test_a_date_that_lacks_a_part_is_told(text: str) -> None:
    with pytest.raises(ToolError, match="lacks a day, a month or a year"):
        called("dates.parse_date", text=text)


@pytest.mark.parametrize("text", ["10 May 11", "Apr-03-25", "03-Apr-25", "Sept 5 26 10:00"])
def test_a_named_month_leaves_one_way_to_read_a_date(text: str) -> None:
    assert names_month(text)
    both = [parse(text, dayfirst=first, default=datetime(2000, 1, 1)) for first in (True, False)]  # noqa: DTZ001
    assert both[0] == both[1]


def test_without_a_name_there_are_two() -> None:
    assert not names_month("04/05/2026")
    with pytest.raises(ToolError, match=r"2026-05-04 \(order: day\) or 2026-04-05"):
        called("dates.parse_date", text="04/05/2026")


def test_months_are_added_as_calendars_do() -> None:
    chance = random.Random(4)
    for _ in range(500):
        start = date.fromordinal(chance.randint(400_000, 1_000_000))
        months = chance.randint(-4_000, 4_000)
        assert Duration(months, 0).after(start) == start + relativedelta(months=months)
    assert Duration(1, 0).after(date(2024, 1, 31)) == date(2024, 2, 29)
    with pytest.raises(ToolError, match="years 1 to 9999"):
        Duration(12 * 9_000, 0).after(date(2024, 1, 31))
