"""A run: what it answered, how far it is, its steps as a tree and on a line of time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from api.ui.frame import (
    FINAL,
    NOTHING,
    badge,
    cell,
    cost,
    facts,
    heading,
    lasting,
    moment,
    shares,
    table,
    tokens,
    verb,
)
from api.ui.markup import Html, address, shown, tag
from api.ui.spans import Span, calls_of, error_line, events
from api.ui.vote import decision, is_decision

Row = Mapping[str, Any]
#: Levels of a tree that are indented; deeper ones stand under the last.
_DEPTH_MAX = 6
#: Members of which it is told how fast they are done.
_MANY = 20
#: The order in which a bar has its parts.
_ORDER = ("succeeded", "failed", "dead", "cancelled", "skipped", "running", "waiting", "ready")


class RunSheet:
    """Renders one page of a run; its reader may cancel it, and read its session."""

    def __init__(
        self, run: Row, *, cancels: bool, sessions: bool = False, now: float | None = None
    ) -> None:
        self.run = run
        self.root: Row = run["root"]
        self.cancels, self.sessions = cancels, sessions
        self.now = time.time() if now is None else now
        self.begin = self.root["created_at"]
        self.end = run["finished_at"] or self.now
        self.path = address("runs", self.root["id"])
        self._span = Span.of(self.begin, run["finished_at"], self.now)
        self._calls: dict[str, list[Row]] = {}
        for call in run["calls"]:
            self._calls.setdefault(call["step_id"], []).append(call)

    @property
    def title(self) -> str:
        """Its title in a browser's tab."""
        return f"{verb(self.root['task'])} {self.root['state']}"

    def render(self, wishes: Html | None, state: str | None) -> Iterator[Html | None]:
        """The parts of the page."""
        yield self._head()
        yield wishes
        yield self._progress(state)
        yield self._answer()
        yield tag("section", tag("h2", "Steps"), self._steps(), id="steps")
        yield self._pages(state)
        yield events(self.run["events"], self.begin)

    def _head(self) -> Html:
        root, open_ = self.root, self.root["state"] not in FINAL
        button = tag("button", "Cancel", class_="bad")
        cancel = tag("form", button, method="post", action=f"{self.path}/cancel")
        usage = self.run["usage"] or root["usage"]
        session = self.run["session"]
        beside = badge(root["state"]), cancel if open_ and self.cancels else None
        return tag(
            "section",
            heading(verb(root["task"]), *beside),
            tag("p", tag("code", root["id"]), class_="quiet id"),
            facts(
                ("Agent", root["agent"] or NOTHING),
                ("Began", moment(self.begin)),
                ("Took" if not open_ else "Runs for", lasting(self.end - self.begin)),
                ("Steps", f"{sum(self.run['counts'].values()) + 1:,}"),
                ("Tokens", tokens(usage)),
                ("Cost", cost(usage)),
                *([("Tenant", root["tenant"])] if root["tenant"] else []),
                *([("Session", self._session(session))] if session else []),
            ),
            tag("details", tag("summary", "What was asked"), shown(self.run["asked"]), id="asked"),
            id="head",
        )

    def _session(self, name: str) -> Html | str:
        if not self.sessions:
            return name
        return tag("a", name, href=address("sessions", name, tenant=self.root["tenant"] or None))

    def _answer(self) -> Html | None:
        root, value = self.root, self.run["value"]
        if is_decision(value):
            return decision(value)
        if root["error"] is not None and root["state"] != "succeeded":
            return tag(
                "section",
                tag("h2", "Error"),
                error_line(root["error"]),
                class_="card bad",
                id="answer",
            )
        if root["state"] != "succeeded":
            return None
        return tag("section", tag("h2", "Answer"), shown(value), class_="card", id="answer")

    def _progress(self, state: str | None) -> Html | None:
        """How many members are in which state, as a bar with a link for each."""
        counts: Mapping[str, int] = self.run["counts"]
        whole = sum(counts.values())
        done = sum(counts.get(name, 0) for name in FINAL)
        if not whole or (done == whole < _MANY):
            return None
        order = [name for name in _ORDER if counts.get(name)]
        links = [self._count(name, counts[name], chosen=name == state) for name in order]
        return tag(
            "section",
            tag(
                "h2",
                f"{done:,} of {whole:,} done",
                tag("span", self._pace(done, whole), class_="quiet"),
            ),
            shares([(name, counts[name] / whole) for name in order]),
            tag("p", links, class_="counts"),
            id="progress",
        )

    def _pace(self, done: int, whole: int) -> str:
        took = self.end - self.begin
        if whole < _MANY or not done or done == whole or took <= 0:
            return ""
        rate = done / took
        return f" {rate:,.1f}/s, about {lasting((whole - done) / rate)} left"

    def _count(self, state: str, number: int, *, chosen: bool) -> Html:
        words = tag("i", class_=f"dot s-{state}", aria_hidden="true"), f"{number:,} {state}"
        if self.run["whole"]:
            return tag("span", words, class_="count")
        return tag(
            "a",
            words,
            href=address("runs", self.root["id"], state=state),
            class_="count",
            aria_current="true" if chosen else None,
        )

    def _steps(self) -> Html:
        rows = [self._step(self.root, 0)]
        rows += [self._step(step, depth) for step, depth in self._ordered()]
        return table(
            ("Step", "State", "Attempts", "Tokens", "Cost", "Took", self._scale()),
            rows,
            empty="",
            class_="cards steps",
        )

    def _scale(self) -> tuple[str, Html]:
        """The head of the line of time, with how long the line is."""
        return "Time", tag("span", f" {lasting(self._span.end - self.begin)}", class_="quiet")

    def _ordered(self) -> Iterator[tuple[Row, int]]:
        """Steps under their parents; those whose parent is not on this page stand at the side."""
        below: dict[str | None, list[Row]] = {}
        shown_ids = {self.root["id"], *(step["id"] for step in self.run["steps"])}
        for step in self.run["steps"]:
            parent = step["parent_id"]
            below.setdefault(parent if parent in shown_ids else self.root["id"], []).append(step)
        stack = [(step, 1) for step in reversed(below.get(self.root["id"], []))]
        while stack:
            step, depth = stack.pop()
            yield step, depth
            stack += [(s, depth + 1) for s in reversed(below.get(step["id"], []))]

    def _step(self, step: Row, depth: int) -> Html:
        name = step["member"] or verb(step["task"])
        began, ended = step["started_at"], step["finished_at"]
        agent = step["agent"]
        usage, why = step["usage"], step["why"]
        return tag(
            "tr",
            cell(
                "Step",
                tag("b", self._named(name, step) if depth else name),
                tag("span", f" {agent}", class_="quiet") if agent and agent != name else None,
                tag("span", f" {verb(step['task'])}", class_="quiet") if step["member"] else None,
                error_line(step["error"]) if step["error"] and depth else None,
                tag("p", why, class_="why") if why else None,
                calls_of(step["id"], self._calls.get(step["id"], ())),
                class_=f"main d{min(depth, _DEPTH_MAX)}",
            ),
            cell("State", badge(step["state"])),
            cell("Attempts", step["attempts"] or NOTHING, class_="n"),
            cell("Tokens", tokens(usage), class_="n"),
            cell("Cost", cost(usage), class_="n"),
            cell("Took", lasting((ended or self.now) - began) if began else NOTHING, class_="n"),
            cell("Time", self._span.line(step), class_="line"),
            id=f"step-{step['id']}",
        )

    def _named(self, name: str, step: Row) -> Html | str:
        """A step's name; where not all steps are shown, it leads to what is below that step."""
        if self.run["whole"]:
            return name
        return tag("a", name, href=address("runs", step["id"]))

    def _pages(self, state: str | None) -> Html | None:
        if self.run["more"] is None:
            return None
        path = address("runs", self.root["id"], after=str(self.run["more"]), state=state)
        link = tag("a", "Next members", href=path, class_="button")
        return tag("p", link, class_="pages")
