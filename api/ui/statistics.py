"""Steps in numbers: how many ended, how long they took and what they used, over a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from api.ui.frame import NOTHING, cell, dollars, lasting, moment, options, shares, table, tokens
from api.ui.markup import Html, address, tag
from app.journal.stores.statistics import TimeSlot
from celery_agents.contracts.outcome import State, Usage
from celery_agents.contracts.watching import Grouping, Stats, StepStats

_DAY_S = 86_400.0
#: Agents or tenants of one page, those of the highest cost, and kinds of errors of each.
ROWS_MAX, _KINDS_MAX = 100, 6
#: Height of a chart, and the width of a slot, in units of its own.
_HIGH, _WIDE = 40.0, 10
#: States in the order in which a bar has them.
_ORDER = tuple(State(name) for name in ("succeeded", "failed", "dead", "cancelled", "skipped"))
_MILLION = 1_000_000
_FAILED = (State.FAILED, State.DEAD)
TimeName = Literal["1h", "24h", "7d", "30d"]


class Within(NamedTuple):
    """A time that may be looked at, in words, and the slots of its charts, in seconds."""

    words: str
    since_s: float
    slot_s: int


TIMES: dict[TimeName, Within] = {
    "1h": Within("the last hour", 3_600.0, 60),
    "24h": Within("24 hours", _DAY_S, 3_600),
    "7d": Within("7 days", 7 * _DAY_S, 6 * 3_600),
    "30d": Within("30 days", 30 * _DAY_S, 86_400),
}
_BY = {"agent": "agent", "tenant": "tenant"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """The figures that are looked at: of which time, by what, and of whom."""

    time: TimeName
    by: Grouping
    agent: str = ""
    tenant: str = ""


def form(looked: Looked, names: Sequence[str], *, tenants: bool) -> Html:
    """The form above the figures: it needs no script."""
    times: dict[str, str] = {name: within.words for name, within in TIMES.items()}
    known = tag("datalist", (tag("option", value=name) for name in names), id="agents")
    chosen = looked.agent or looked.tenant or looked.by != "agent" or looked.time != "24h"
    return tag(
        "form",
        tag("label", "Time", tag("select", options(times, looked.time), name="time")),
        tag("label", "By", tag("select", options(_BY, looked.by), name="by")) if tenants else None,
        tag("label", "Agent", _field("agent", looked.agent, "any agent", list="agents")),
        known,
        tag("label", "Tenant", _field("tenant", looked.tenant, "all tenants")) if tenants else None,
        tag("button", "Show"),
        tag("a", "Clear", href=address("statistics")) if chosen else None,
        class_="filters",
        method="get",
        action=address("statistics"),
    )


def _field(name: str, value: str, words: str, **more: str) -> Html:
    return tag("input", name=name, value=value, placeholder=words, autocomplete="off", **more)


def sheet(looked: Looked, told: Stats, slots: Sequence[TimeSlot]) -> Iterator[Html | None]:
    """The figures: all together, over the time, and by agent or tenant."""
    if not told.rows:
        words = "No step has ended within this time. One is counted soon after its run has ended."
        yield tag("p", words, class_="empty")
        return
    yield tag("div", _charts(told, slots), class_="grid", id="charts")
    yield from _by_name(looked, told)
    yield _over_time(slots)
    late = ("Counted from rows of runs that have ended; runs that began after ",)
    until = moment(told.counted_until)
    yield tag("p", late, until, " may be missing.", class_="quiet")


# -- over the time


def _charts(told: Stats, slots: Sequence[TimeSlot]) -> Iterator[Html]:
    whole = Counter[State]()
    for row in told.rows:
        whole[row.state] += row.count
    used = sum((row.usage for row in told.rows), Usage())
    failed = sum(whole[state] for state in _FAILED)
    ended = [[(f"f-{s}", float(slot.steps.get(s, 0))) for s in _ORDER] for slot in slots]
    words = [
        f"{sum(slot.steps.values()):,} steps, {_failed(slot.steps):,} failed" for slot in slots
    ]
    yield _chart("Steps", (f"{whole.total():,}", f"{failed:,} failed"), slots, ended, words)
    flow = [
        [("f-out", float(s.usage.output_tokens)), ("f-in", float(s.usage.input_tokens))]
        for s in slots
    ]
    words = [f"{tokens(slot.usage.model_dump())} tokens" for slot in slots]
    read = f"{used.cached_tokens:,} read from caches" if used.cached_tokens else "in → out"
    told_tokens = f"{_short(used.input_tokens)} → {_short(used.output_tokens)}"
    yield _chart("Tokens", (told_tokens, read), slots, flow, words)
    paid = [[("f-out", slot.usage.cost_usd or 0.0)] for slot in slots]
    words = [dollars(slot.usage.cost_usd) for slot in slots]
    saved = (
        f"{dollars(used.saved_usd)} saved by caches" if used.saved_usd else f"{used.calls:,} calls"
    )
    yield _chart("Cost", (dollars(used.cost_usd), saved), slots, paid, words)


def _short(number: int) -> str:
    """A number as a headline; the table has the exact one."""
    return f"{number:,}" if number < _MILLION else f"{number / _MILLION:,.1f} M"


def _failed(steps: Mapping[str, int]) -> int:
    return sum(steps.get(state, 0) for state in _FAILED)


def _chart(
    title: str,
    figures: tuple[str, str],
    slots: Sequence[TimeSlot],
    bars: Sequence[Sequence[tuple[str, float]]],
    words: Sequence[str],
) -> Html:
    """A figure, what stands beside it, and the bars that it is made of."""
    figure, beside = figures
    most = max((sum(high for _, high in bar) for bar in bars), default=0.0) or 1.0
    drawn = [
        _bar(place, bar, most, f"{_hour(slot.starts_at)}: {told}")
        for place, (slot, bar, told) in enumerate(zip(slots, bars, words, strict=True))
    ]
    return tag(
        "section",
        tag("h2", title),
        tag("p", figure, class_="figure"),
        tag("p", beside, class_="quiet"),
        tag(
            "svg",
            drawn,
            viewBox=f"0 0 {_WIDE * len(slots)} {_HIGH:.0f}",
            preserveAspectRatio="none",
            class_="chart",
            role="img",
            aria_label=f"{title} over the time; its figures stand in the table below",
        ),
        tag("p", moment(slots[0].starts_at), tag("span", "now"), class_="axis"),
        class_="card",
        id=f"chart-{title.lower()}",
    )


def _bar(place: int, parts: Sequence[tuple[str, float]], most: float, words: str) -> Html:
    """The parts of one slot on top of each other, and what they say where somebody points."""
    x, top, made = place * _WIDE, _HIGH, list[Html]()
    for class_, amount in parts:
        if amount:
            high = max(amount / most * (_HIGH - 1), 0.6)
            top -= high
            made.append(_rect(x + 1, top, _WIDE - 2, high, class_))
    return tag("g", tag("title", words), _rect(x, 0, _WIDE, _HIGH, "slot"), made)


def _rect(x: float, y: float, width: float, height: float, class_: str) -> Html:
    about = {"x": f"{x:g}", "y": f"{y:.2f}", "width": f"{width:g}", "height": f"{height:.2f}"}
    return tag("rect", class_=class_, **about)


def _hour(at: float) -> str:
    return str(moment(at)).partition(">")[2].partition("<")[0][:16]


def _over_time(slots: Sequence[TimeSlot]) -> Html:
    """The charts as a table, the newest slot first; those in which nothing ended are left out."""
    rows = [
        tag(
            "tr",
            cell("From", moment(slot.starts_at), class_="main"),
            cell("Steps", f"{sum(slot.steps.values()):,}", class_="n"),
            cell("Failed", f"{_failed(slot.steps):,}", class_="n"),
            cell("Tokens", tokens(slot.usage.model_dump()), class_="n"),
            cell("Cost", dollars(slot.usage.cost_usd), class_="n"),
        )
        for slot in reversed(slots)
        if slot.steps
    ]
    names = ("From", "Steps", "Failed", "Tokens", "Cost")
    made = table(names, rows, empty="", class_="cards")
    return tag("details", tag("summary", "Over the time, as a table"), made, id="over-time")


# -- by agent or tenant


def _by_name(looked: Looked, told: Stats) -> Iterator[Html | None]:
    found: dict[str, list[StepStats]] = {}
    for row in told.rows:
        found.setdefault(row.name, []).append(row)
    ranked = sorted(found.items(), key=lambda one: _rank(one[1]), reverse=True)
    by = "Tenant" if looked.by == "tenant" else "Agent"
    yield tag("h2", "By tenant" if looked.by == "tenant" else "By agent")
    yield table(
        (by, "Ended", "Steps", "Failed", "Median", "p95", "p99", "Tokens", "Cost"),
        (_row(by, name, rows, looked) for name, rows in ranked[:ROWS_MAX]),
        class_="cards",
        empty="",
    )
    left = len(ranked) - ROWS_MAX
    if left > 0:
        command = f"agents stats --by {looked.by} --since {looked.time}"
        yield tag("p", f"{left:,} more: ", tag("code", command), class_="quiet")


def _rank(rows: Sequence[StepStats]) -> tuple[float, int]:
    """Dear ones first, those of whose price nobody knows among them, then those with many steps."""
    used = sum((row.usage for row in rows), Usage())
    cost = float("inf") if used.cost_usd is None else used.cost_usd
    return cost, sum(row.count for row in rows)


def _row(by: str, name: str, rows: Sequence[StepStats], looked: Looked) -> Html:
    steps: dict[str, int] = {row.state: row.count for row in rows}
    whole, failed = sum(steps.values()), _failed(steps)
    well = next((row for row in rows if row.state is State.SUCCEEDED), None)
    used = sum((row.usage for row in rows), Usage())
    bar = shares([(state, steps[state] / whole) for state in _ORDER if state in steps])
    share = tag("span", f" {failed / whole:.1%}", class_="quiet") if failed else None
    return tag(
        "tr",
        cell(by, tag("b", _named(by, name, looked)), _errors(rows), class_="main"),
        cell("Ended", bar, class_="ended"),
        cell("Steps", f"{whole:,}", class_="n"),
        cell("Failed", *((f"{failed:,}", share) if failed else (NOTHING,)), class_="n"),
        cell("Median", lasting(well.median_s if well else None), class_="n"),
        cell("p95", lasting(well.p95_s if well else None), class_="n"),
        cell("p99", lasting(well.p99_s if well else None), class_="n"),
        cell("Tokens", tokens(used.model_dump()), class_="n"),
        cell("Cost", dollars(used.cost_usd), class_="n"),
    )


def _named(by: str, name: str, looked: Looked) -> Html | str:
    """A name that leads on: an agent's to its runs, a tenant's to its agents."""
    if by == "Agent":
        return tag("a", name.removeprefix("agents."), href=address(agent=name))
    if not name:
        return "nobody in particular"
    return tag("a", name, href=address("statistics", time=looked.time, tenant=name))


def _errors(rows: Sequence[StepStats]) -> Html | None:
    kinds = sum((Counter(row.errors) for row in rows), Counter[str]())
    told = [f"{kind} {number:,}" for kind, number in kinds.most_common(_KINDS_MAX)]
    return tag("p", ", ".join(told), class_="error") if told else None
