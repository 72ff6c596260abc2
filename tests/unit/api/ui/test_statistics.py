"""The page of statistics: what it shows, to whom, and how much of it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from api.ui import routes
from api.ui.routes import StatisticsQuery
from api.ui.statistics import ROWS_MAX, Looked, sheet
from app.journal.stores.statistics import TimeSlot
from celery_agents.contracts.outcome import State, Usage
from celery_agents.contracts.watching import Stats, StatsWanted, StepStats

WORD = "<script>alert(1)</script>"
SPENT = Usage(calls=2, input_tokens=1_000, output_tokens=50, cost_usd=0.25)


def told(*rows: StepStats) -> Stats:
    return Stats(since=0.0, until=7_200.0, counted_until=7_190.0, rows=rows)


def row(name: str, state: State = State.SUCCEEDED, count: int = 1, **more: Any) -> StepStats:
    return StepStats(name=name, state=state, count=count, **more)


def shown(stats: Stats, *slots: TimeSlot, **looked: Any) -> str:
    about = {"time": "24h", "by": "agent", **looked}
    return "".join(str(part) for part in sheet(Looked(**about), stats, slots) if part)


def test_an_agents_steps_errors_latency_and_cost() -> None:
    well = row("gpt", count=97, usage=SPENT, median_s=0.5, p95_s=2.0, p99_s=3.0)
    ill = row("gpt", State.FAILED, 3, errors={"timeout": 2, WORD: 1}, median_s=9.0)
    slot = TimeSlot(3_600, {"succeeded": 97, "failed": 3}, SPENT)
    html = shown(told(well, ill), TimeSlot(0, {}, Usage()), slot)
    for words in ("100", "3.0%", "500 ms", "2.0 s", "3.0 s", "1,000 → 50", "$0.2500", "timeout 2"):
        assert words in html, words
    assert "9.0 s" not in html  # latency is that of steps that succeeded
    assert WORD not in html
    assert "1970-01-01 01:00: 100 steps, 3 failed" in html
    assert html.count("<g>") == 3 * 2  # a bar for each slot of each chart
    assert 'href="/ui?agent=gpt"' in html


def test_of_ten_thousand_tenants_the_dearest_are_shown() -> None:
    rows = [
        row(f"tenant {n} {'W' * 40}", count=n + 1, usage=Usage(cost_usd=n / 100))
        for n in range(10_000)
    ]
    slots = [TimeSlot(n * 86_400, {"succeeded": 5}, SPENT) for n in range(31)]
    html = shown(told(*rows), *slots, by="tenant")
    assert html.count("<b>") == ROWS_MAX
    assert "tenant 9999" in html
    assert "tenant 9899" not in html
    assert "9,900 more" in html
    assert len(html.encode()) < 150_000


def test_costs_that_nobody_knows_are_no_nothing() -> None:
    html = shown(told(row("own", usage=Usage(cost_usd=None))), TimeSlot(0, {"succeeded": 1}, SPENT))
    assert "unknown" in html


def test_without_any_step_it_says_so() -> None:
    assert "No step has ended" in shown(told(), TimeSlot(0, {}, Usage()))


@pytest.mark.parametrize(
    ("tenant", "query", "wanted"),
    [
        (None, {}, ("agent", None, None)),
        (None, {"by": "tenant", "tenant": "acme"}, ("tenant", None, "acme")),
        (None, {"agent": "gpt", "time": "7d"}, ("agent", "gpt", None)),
        ("acme", {"by": "tenant", "tenant": "other"}, ("agent", None, "acme")),
        ("", {"tenant": "other"}, ("agent", None, "")),
    ],
)
def test_who_sees_one_tenant_sees_its_steps(
    tenant: str | None, query: dict[str, Any], wanted: tuple[Any, ...]
) -> None:
    asked: list[StatsWanted] = []

    def over_time(about: StatsWanted, slot_s: int) -> tuple[Stats, list[TimeSlot]]:
        assert slot_s > 0
        asked.append(about)
        return told(row("gpt")), [TimeSlot(0, {"succeeded": 1}, Usage())]

    async def read(work: Any, *about: Any) -> Any:
        return work(*about)

    parts: Any = SimpleNamespace(
        read=read,
        statistics=SimpleNamespace(over_time=over_time),
        posted=SimpleNamespace(offered=list),
    )
    who: Any = SimpleNamespace(tenant=tenant, may=lambda _: True, may_ask=lambda _: True, id="k")
    made = asyncio.run(routes.statistics(parts, who, StatisticsQuery(**query)))
    html = bytes(made.body).decode()
    assert [(one.by, one.agent, one.tenant) for one in asked] == [wanted]
    assert ("all tenants" in html) is (tenant is None)
