"""Pages that are lists: runs, agents, what waits, dead letters, limits and budgets."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from api.ui.frame import (
    NOTHING,
    badge,
    cell,
    cost,
    dollars,
    facts,
    lasting,
    moment,
    options,
    short,
    table,
    tokens,
    verb,
)
from api.ui.markup import SHOWN_MAX, Html, address, shown, tag, text
from celery_agents import names
from celery_agents.contracts.approval import is_asked
from celery_agents.contracts.budgets import UNITS, BudgetState, Spent
from celery_agents.contracts.limits import LimitState
from celery_agents.contracts.outcome import State, Usage
from celery_agents.contracts.watching import RunInfo, StepStats

Row = Mapping[str, Any]
_NANO = 1e9
_FAILED = frozenset({State.FAILED, State.DEAD})
#: Characters of what a page of wishes asks, all told, and of each at the least; of a choice's
#: button, and of a dead letter's reason: a page has at most 200 kB, as it is read again and again.
_WISHES_MAX, _WISH_LEAST, _CHOICE_MAX, _REASON_MAX = 60_000, 300, 200, 500
#: What a breaker does, in words.
_STANDING = {
    None: NOTHING,
    "closed": "closed",
    "half_open": "half open: it tries a call",
    "open": "open: no call is let through",
}


def run_link(run_id: str, *words: Any) -> Html:
    """A link to a run."""
    return tag("a", words or run_id, href=address("runs", run_id))


#: Runs that are looked for by a condition of :class:`RunFilter`, in words.
KINDS = {"failed": "without success", "waiting": "waiting for a person", "stuck": "stuck"}
_ORDERS = {"time": "newest first", "cost": "dearest first"}


def filters(show: str, agent: str, order: str, names: Sequence[str]) -> Html:
    """The form above the runs: it needs no script."""
    states = {s.value: s.value for s in State if s.value not in KINDS}
    kinds = {"": "all", **KINDS, **states}
    known = tag("datalist", (tag("option", value=name) for name in names), id="agents")
    return tag(
        "form",
        tag("label", "Runs", tag("select", options(kinds, show), name="show")),
        tag(
            "label",
            "Agent",
            tag(
                "input",
                name="agent",
                value=agent,
                list="agents",
                placeholder="any agent",
                autocomplete="off",
            ),
        ),
        known,
        tag("label", "Order", tag("select", options(_ORDERS, order), name="order")),
        tag("button", "Show"),
        tag("a", "Clear", href="/ui") if show or agent or order != "time" else None,
        class_="filters",
        method="get",
        action="/ui",
    )


def runs(rows: Sequence[RunInfo], *, tenants: bool) -> Html:
    """Runs; with a column of tenants where they have any."""
    tenants = tenants and any(row.tenant for row in rows)
    names = [
        "State",
        "Run",
        "Agent",
        *(["Tenant"] if tenants else []),
        "Began",
        "Took",
        "Tokens",
        "Cost",
    ]
    return table(
        names,
        (_run(row, tenants=tenants) for row in rows),
        class_="cards",
        empty="No runs yet. Ask an agent, and its run is here as soon as a worker has it.",
    )


def _run(row: RunInfo, *, tenants: bool) -> Html:
    began, ended = row.created_at, row.finished_at
    words = (tag("b", verb(row.task)), " ", tag("code", row.id))
    told = row.why or row.error
    usage = None if row.usage is None else row.usage.model_dump()
    return tag(
        "tr",
        cell("State", badge(row.state)),
        cell(
            "Run",
            run_link(row.id, words),
            tag("p", short(told, _REASON_MAX), class_="quiet" if row.why else "error")
            if told
            else None,
            class_="main",
        ),
        cell("Agent", row.agent or NOTHING),
        cell("Tenant", row.tenant or NOTHING) if tenants else None,
        cell("Began", moment(began)),
        cell("Took", lasting((ended or time.time()) - began), class_="n"),
        cell("Tokens", tokens(usage), class_="n"),
        cell("Cost", cost(usage), class_="n"),
        id=f"run-{row.id}",
    )


def in_flower(url: str, path: str, words: str) -> Html:
    """A link to a page of Flower."""
    there = f"{url.rstrip('/')}/{quote(path)}"
    return tag("p", tag("a", words, href=there, rel="noreferrer"), class_="quiet")


def older(query: Mapping[str, str | None], after: str | None) -> Html | None:
    """The way to the next page of runs."""
    return None if after is None else _next_page("More runs", address(**query, after=after))


def next_of(place: str, after: str | None) -> Html | None:
    """The way to the next page of a list."""
    return None if after is None else _next_page("More", address(place, after=after))


def _next_page(words: str, path: str) -> Html:
    return tag("p", tag("a", words, href=path, class_="button"), class_="pages")


def agents(rows: Sequence[Row]) -> Html:
    """Agents as cards."""
    if not rows:
        return tag("p", "No worker has offered an agent yet.", class_="empty")
    return tag("div", map(_agent, rows), class_="grid")


def _agent(row: Row) -> Html:
    health = row["health"] or {}
    state = health.get("state", "unknown")
    latency, failed = health.get("latency_ms"), health.get("message")
    return tag(
        "article",
        tag("h2", row["name"], badge(state)),
        tag("p", row["description"] or "No description."),
        tag("p", "Last probe: ", failed, class_="error") if failed else None,
        facts(
            ("Kind", row["kind"]),
            ("Effects", row["effects"]),
            *_figures(row.get("stats") or ()),
            ("Last probe", NOTHING if latency is None else f"{latency:.0f} ms"),
            ("Breaker", _STANDING[row.get("breaker")]),
            ("Offered", moment(row["seen_at"])),
        ),
        tag("a", "Its runs", href=address(agent=row["name"])),
        class_="card",
        id=f"agent-{row['name']}",
    )


def _figures(stats: Sequence[StepStats]) -> Iterator[tuple[str, Any]]:
    """An agent's day, where it had one: steps, those that failed, latency, cost."""
    if not stats:
        return
    spent = sum((one.usage for one in stats), Usage())
    failed = sum(one.count for one in stats if one.state in _FAILED)
    yield "Steps in 24 h", f"{sum(one.count for one in stats):,}, {failed:,} failed"
    for one in stats:
        if one.state is State.SUCCEEDED and one.median_s is not None:
            yield "Median and p95", f"{lasting(one.median_s)}, {lasting(one.p95_s)}"
    yield "Cost in 24 h", dollars(spent.cost_usd)


def targets(rows: Sequence[Row], stale_s: float) -> Html:
    """Findings of probes of all else: the journal, the broker, providers.

    Those that should have been made anew long ago are stale: a journal without room keeps none.
    """
    return table(
        ("Target", "State", "For", "Latency", "Checked", "Last failure"),
        (_target(row, stale_s) for row in rows),
        class_="cards",
        empty="Nothing has been probed yet.",
    )


def _target(row: Row, stale_s: float) -> Html:
    latency = row["latency_ms"]
    state = "stale" if row["age_s"] > stale_s else row["state"]
    return tag(
        "tr",
        cell("Target", row["target"], class_="main"),
        cell("State", badge(state)),
        cell("For", lasting(row["lasts_s"]), class_="n"),
        cell("Latency", NOTHING if latency is None else f"{latency:.0f} ms", class_="n"),
        cell("Checked", f"{lasting(row['age_s'])} ago", class_="n"),
        cell("Last failure", row["message"] or NOTHING),
    )


class Answerer(NamedTuple):
    """Somebody who may answer wishes."""

    name: str
    role: str


def wishes(rows: Sequence[Row], *, answers: Answerer | None, linked: bool = True) -> Html:
    """Wishes that wait for a person, each with its buttons where whoever answers is asked."""
    if not rows:
        return tag("p", "Nothing waits for a person.", class_="empty")
    most = max(_WISH_LEAST, min(SHOWN_MAX, _WISHES_MAX // len(rows)))
    about: Any = {"answers": answers, "linked": linked, "most": most}
    return tag("div", (_wish(row, **about) for row in rows), class_="stack")


def _wish(row: Row, *, answers: Answerer | None, linked: bool, most: int) -> Html:
    tool = row["tool"]
    asks: Any = "A flow asks a person." if row["asks"] else "A vote needs a person."
    if tool:
        asks = ("May it call ", tag("code", tool), "?")
    asked = answers is not None and is_asked(answers.name, row["by"], answers.role)
    waits = lasting(time.time() - row["since"])
    return tag(
        "article",
        tag("h2", asks),
        tag("p", _cut(row["why"], most), class_="why") if row["why"] else None,
        shown(row["arguments"] if tool else row["question"], most),
        tag(
            "p",
            "Waits for ",
            waits,
            (" in ", run_link(row["run_id"])) if linked else None,
            class_="quiet",
        ),
        tag("p", "Asked: ", ", ".join(row["by"]), class_="quiet") if row["by"] else None,
        _answers(row) if asked else tag("p", "Your key may not answer.", class_="quiet"),
        class_="card asks",
        id=f"wish-{row['key']}",
    )


def _cut(words: str, most: int) -> str:
    return words if len(words) <= most else f"{words[: most - 1]}…"


def _answers(row: Row) -> Html:
    """Buttons: yes and no, with the reason for no; or the options."""
    buttons: list[Any]
    if row["tool"] or (row["asks"] and not row["choices"]):
        told = "the model" if row["tool"] else "the flow"
        reason = tag(
            "input",
            name="reason",
            placeholder=f"Why not ({told} is told)",
            aria_label="Why not",
            autocomplete="off",
        )
        buttons = [_choice("Approve", True, "good"), reason, _choice("Refuse", False, "bad")]
    elif row["choices"]:
        buttons = [_choice(option, option) for option in row["choices"]]
    else:
        said = tag("input", name="reason", aria_label="Your answer", placeholder="Your answer")
        buttons = [said, tag("button", "Answer", name="choice", value='""')]
    key = tag("input", type="hidden", name="key", value=row["key"])
    return tag(
        "form",
        key,
        buttons,
        method="post",
        action=address("runs", row["run_id"], "approve"),
        class_="answers",
    )


def _choice(words: str, value: Any, class_: str | None = None) -> Html:
    short = _cut(words, _CHOICE_MAX)
    return tag("button", short, name="choice", value=json.dumps(value), class_=class_)


def letters(rows: Sequence[Row], *, writes: bool) -> Html:
    """Dead letters, each with the button that lets it run again."""
    return table(
        ("What", "Why", "Attempts", "At", ""),
        (_letter(row, writes=writes) for row in rows),
        class_="cards",
        empty="No dead letters. Nothing was given up.",
    )


def _letter(row: Row, *, writes: bool) -> Html:
    path = address("dead-letters", row["id"], "requeue")
    why = _cut(row["reason"], _REASON_MAX)
    again = tag("form", tag("button", "Requeue"), method="post", action=path)
    return tag(
        "tr",
        cell("What", tag("b", verb(row["task"])), " ", tag("code", row["id"]), class_="main"),
        cell("Why", tag("span", row["cause"], class_="quiet"), " ", why),
        cell("Attempts", row["attempts"], class_="n"),
        cell("At", moment(row["at"])),
        cell("", again if writes and row["kind"] == "step" else None),
    )


def limits(states: Sequence[LimitState]) -> Html:
    """Limits as they stand."""
    return table(
        ("Limit", "Policy", "In use", "Waiting", "State"),
        map(_limit, states),
        class_="cards",
        empty="No limits are set.",
    )


def _limit(state: LimitState) -> Html:
    paused = state.paused_s
    return tag(
        "tr",
        cell("Limit", state.name, f" {state.subject}" if state.subject else "", class_="main"),
        cell("Policy", tag("code", _policy(state.policy))),
        cell("In use", f"{state.in_use:,}", class_="n"),
        cell("Waiting", f"{state.waiting:,}", class_="n"),
        cell("State", badge("open") if paused is None else ("paused for ", lasting(paused))),
    )


def budgets(states: Sequence[BudgetState]) -> Html:
    """Budgets as they stand, with how much of each is used."""
    return table(
        ("Budget", "Policy", "Used", "Spent", "Reserved", "In doubt", "Until"),
        map(_budget, states),
        class_="cards",
        empty="No budgets are set.",
    )


def _budget(state: BudgetState) -> Html:
    used = _used(state)
    return tag(
        "tr",
        cell("Budget", state.name, f" {state.subject}" if state.subject else "", class_="main"),
        cell("Policy", tag("code", _policy(state.policy))),
        cell("Used", _share(used), (" ", tag("b", "spent", class_="full")) if used >= 1 else None),
        cell("Spent", _amounts(state.spent), class_="n"),
        cell("Reserved", _amounts(state.reserved), class_="n"),
        cell("In doubt", _amounts(state.in_doubt), class_="n"),
        cell("Until", moment(state.ends_at)),
    )


def _used(state: BudgetState) -> float:
    """The share of the number that is nearest to its end; what is reserved or in doubt counts."""
    parts = state.spent, state.reserved, state.in_doubt
    known = [
        sum(float(getattr(part, unit)) for part in parts) / most
        for unit in UNITS
        if (most := getattr(state.policy, unit)) is not None
    ]
    return max(known, default=0.0)


def _share(used: float) -> tuple[Html, Html]:
    width = f"{100 * min(used, 1.0):.1f}%"
    rest = tag("rect", width=width, height="100%", class_="f-failed" if used >= 1 else "f-running")
    told = f"{used:.0%} used"
    return tag("svg", rest, class_="bar", role="img", aria_label=told), tag("span", told)


def _amounts(spent: Spent) -> str:
    """Amounts in each unit in which something was spent."""
    told = [dollars(spent.usd)] if spent.nano_usd else []
    told += [f"{spent.tokens:,} tokens"] if spent.tokens else []
    told += [f"{spent.calls:,} calls"] if spent.calls else []
    return ", ".join(told) or NOTHING


def _policy(policy: Any) -> str:
    """A policy in short, without what it does not set."""
    told = policy.model_dump(mode="json", exclude_defaults=True)
    return ", ".join(f"{name} {_short(value)}" for name, value in told.items()) or NOTHING


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def notice(words: str | None) -> Html | None:
    """A line that says what was just done."""
    return tag("p", words, class_="notice", role="status") if words else None


def sign_in(after: str, wrong: str | None) -> Html:
    """The form that asks for a key."""
    return tag(
        "section",
        tag("h1", "Sign in"),
        tag(
            "p",
            "With a key of the API. This browser keeps it for twelve hours, out of reach of "
            "scripts.",
        ),
        tag("p", wrong, class_="error", role="alert") if wrong else None,
        tag(
            "form",
            tag(
                "label",
                "Key",
                tag(
                    "input",
                    name="key",
                    type="password",
                    required=True,
                    autocomplete="current-password",
                    autofocus=True,
                    placeholder="ca_…",
                    maxlength="8000",
                ),
            ),
            tag("input", type="hidden", name="next", value=after),
            tag("button", "Sign in", class_="good"),
            method="post",
            action="/ui/sign-in",
        ),
        tag(
            "p",
            text(("Make one: ", tag("code", f"{names.COMMAND} keys create NAME --role user"))),
            class_="quiet",
        ),
        class_="card narrow",
    )
