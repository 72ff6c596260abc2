"""A session: its exchanges, one after the other, each with the run that asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from api.ui.frame import moment, short
from api.ui.markup import Html, address, tag

Row = Mapping[str, Any]
#: Exchanges of one page, messages of one exchange, and characters of one message.
EXCHANGES, _MESSAGES, _CHARACTERS = 20, 12, 600


def exchanges(rows: Sequence[Row]) -> Html:
    """Exchanges in their order."""
    if not rows:
        return tag("p", "Nothing was said yet.", class_="empty")
    return tag("div", map(_exchange, rows), class_="stack")


def _exchange(row: Row) -> Html:
    run_id = row["run_id"]
    told: list[Row] = row["messages"]
    left = len(told) - _MESSAGES
    return tag(
        "article",
        tag(
            "p",
            tag("b", f"{row['place'] + 1:,}"),
            f" {row.get('agent') or ''} ",
            moment(row["at"]),
            f" {row['tokens']:,} tokens ",
            tag("a", "Run", href=address("runs", run_id)) if run_id else None,
            class_="quiet",
        ),
        map(_message, told[:_MESSAGES]),
        tag("p", f"{left:,} more messages", class_="quiet") if left > 0 else None,
        class_="card",
        id=f"exchange-{row['place']}",
    )


def _message(message: Row) -> Html:
    role = str(message.get("role"))
    return tag(
        "div",
        tag("span", role, class_="quiet"),
        tag("p", short("\n".join(_parts(message)), _CHARACTERS)),
        class_="said",
    )


def _parts(message: Row) -> Iterator[str]:
    """The text of a message; of what is no text, and of calls, their kinds and names."""
    content = message.get("content")
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            yield str(part.get("text") or f"[{part.get('type', 'part')}]")
    for call in message.get("tool_calls") or ():
        yield f"calls {call.get('name')}({call.get('arguments')})"
