"""A step's calls, the events of a run, and both on the line of its time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.ui.frame import cell, dollars, lasting, short, table
from api.ui.markup import Html, tag

Row = Mapping[str, Any]
#: Characters of an error, or of an event, in its row.
_SHORT = 300
#: Where a line of time may end, in its power of ten: at least two thirds of it are in use.
_TICKS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


def axis(seconds: float) -> float:
    """The round length, in seconds, of a line of time that ``seconds`` still go on along.

    A line that grew with the clock would move each bar at each look; this one stays for a while.
    """
    power = 10.0 ** math.floor(math.log10(max(seconds, 1.0)))
    return next(tick * power for tick in _TICKS if seconds <= tick * power * (1 + 1e-9))


@dataclass(frozen=True, slots=True)
class Span:
    """The time of a run, in which its steps stand; of one that goes on it ends at a round one."""

    begin: float
    end: float
    now: float

    @classmethod
    def of(cls, begin: float, finished: float | None, now: float) -> Span:
        """From a run's begin to its end, or past ``now`` while it goes on."""
        return cls(begin, begin + axis(now - begin) if finished is None else finished, now)

    def line(self, step: Row) -> Html:
        """A step on the line: when it waited, and when it ran."""
        asks = step["created_at"] if step["state"] == "waiting" else None  # a person: it never runs
        began = step["started_at"] or asks or step["finished_at"] or self.now
        ended = step["finished_at"] or self.now
        begin, start, stop = map(self._place, (step["created_at"], began, ended))
        parts = [
            tag(
                "rect",
                x=f"{begin:.2f}%",
                width=f"{max(start - begin, 0):.2f}%",
                height="100%",
                class_="queued",
            ),
            tag(
                "rect",
                x=f"{min(start, 99.4):.2f}%",
                width=f"{max(stop - start, 0.6):.2f}%",
                height="100%",
                rx="3",
                class_=f"f-{step['state']}",
            ),
        ]
        queued = lasting(began - step["created_at"])
        return tag("svg", parts, class_="span", role="img", aria_label=f"waited {queued}")

    def _place(self, at: float) -> float:
        whole = max(self.end - self.begin, 1e-6)
        share: float = 100 * (at - self.begin) / whole
        return min(max(share, 0.0), 100.0)


def calls_of(step_id: str, calls: Sequence[Row]) -> Html | None:
    """The calls of a step, folded."""
    if not calls:
        return None
    rows = [
        tag(
            "li",
            tag("code", call["name"]),
            " ",
            _took(call),
            " ",
            tag("span", dollars(call["cost_usd"]), class_="quiet"),
            error_line(call["error"]) if call["error"] else None,
        )
        for call in calls
    ]
    words = f"{len(calls)} call{'s' if len(calls) > 1 else ''}"
    return tag("details", tag("summary", words), tag("ol", rows), id=f"calls-{step_id}")


def events(told: Sequence[Row], begin: float) -> Html | None:
    """Events of a run, by the time since its begin."""
    rows = [
        tag(
            "tr",
            cell("After", lasting(e["at"] - begin), class_="n"),
            cell("Event", tag("b", e["kind"])),
            cell("Of", short(json.dumps(e["data"] or {}, ensure_ascii=False), _SHORT)),
        )
        for e in told
    ]
    if not rows:
        return None
    made = table(("After", "Event", "Of"), rows, empty="")
    return tag("section", tag("h2", "Events"), made, id="events")


def _took(call: Row) -> str:
    ended = call["finished_at"]
    return "under way" if ended is None else lasting(ended - call["started_at"])


def error_line(error: Row) -> Html:
    """An error in its row."""
    return tag("p", tag("b", error["kind"]), " ", short(error["message"], _SHORT), class_="error")


def error_card(error: Row) -> Html:
    """The error that a run ended with."""
    return tag("section", tag("h2", "Error"), error_line(error), class_="card bad", id="answer")
