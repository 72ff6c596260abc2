"""The times of a cron line: those of cronsim, which looks at each hour of the way."""

from __future__ import annotations

import re
from datetime import datetime
from itertools import islice

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import example, given
from hypothesis import strategies as st

from agents.tools.calls import ToolError
from agents.toolsets.builtin.moments import time_of
from tests.unit.agents.toolsets.builtin.support import called

ZONES = ["UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Asia/Kathmandu"]
COUNT = 6


def field(low: int, high: int, *others: str) -> st.SearchStrategy[str]:
    """One number, some, a range, steps, or what else there is."""
    numbers = st.integers(low, high)
    some = st.lists(numbers, min_size=1, max_size=4).map(lambda n: ",".join(map(str, n)))
    ranges = st.tuples(numbers, numbers).map(lambda n: f"{min(n)}-{max(n)}")
    steps = st.integers(1, 20).map(lambda n: f"*/{n}")
    return st.one_of(some, ranges, steps, st.sampled_from(["*", *others]))


LINES = st.tuples(
    field(0, 59),
    field(0, 23),
    field(1, 31, "L", "LW"),
    field(1, 12, "FEB", "NOV,DEC"),
    field(0, 7, "MON-FRI", "SUN#2", "5L", "TUE#5"),
).map(" ".join)
#: A line of six begins with seconds, and knows no changes of the clock.
ALL_LINES = LINES | st.tuples(field(0, 59), LINES).map(" ".join)
#: Whole days, those on which clocks are changed, and any time of a day.
STARTS = st.one_of(
    st.sampled_from(["2026-03-29T00:30", "2026-10-25T02:30", "2026-04-04T23:59:59", "2028-02-29"]),
    st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)).map(datetime.isoformat),  # noqa: DTZ001 - of a zone
    st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)).map(  # noqa: DTZ001 - of UTC
        lambda at: f"{at.isoformat()}Z"
    ),
)


@given(ALL_LINES, STARTS, st.sampled_from(ZONES))
@example("0 9 * * MON", "2026-05-04T10:00", "Europe/Berlin")
@example("0,30 2 29 3 *", "2026-03-01", "Europe/Berlin")
@example("0 0 29 2 *", "2028-02-29T00:00", "UTC")
@example("0 0 30 2 MON", "2026-01-01", "Europe/Berlin")
@example("0 0 * 2 MON#5", "2026-01-01T00:00Z", "UTC")
def test_cron_lines_are_followed_as_cronsim_does(line: str, after: str, zone: str) -> None:
    def found() -> list[str]:
        given = {"rule": line, "after": after, "zone": zone, "count": COUNT}
        times: list[str] = called("dates.next_times", **given)
        return times

    try:
        wanted = [at.isoformat() for at in islice(CronSim(line, time_of(after, zone)), COUNT)]
    except CronSimError as error:
        with pytest.raises(ToolError, match=re.escape(f"no cron line: {error}.")):
            found()
    else:
        assert found() == wanted


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize("rule", ["0 9 * * *", "FREQ=DAILY"])
def test_of_the_last_days_those_that_there_are_are_told(rule: str, zone: str) -> None:
    found = called("dates.next_times", rule=rule, after="9999-12-29T09:00", zone=zone, count=5)
    assert [time[:10] for time in found][-1] in {"9999-12-30", "9999-12-31"}
