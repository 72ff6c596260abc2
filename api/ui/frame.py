"""Parts of all pages: head, way around, words for times, sums and states."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from api.problems import ProblemError
from api.ui.markup import Html, tag, text
from app.access.permissions import Permission, Principal

_PLACES = (
    ("/ui", "Runs", Permission.RUNS_READ),
    ("/ui/waiting", "Waiting", Permission.RUNS_READ),
    ("/ui/agents", "Agents", Permission.AGENTS_READ),
    ("/ui/dead-letters", "Dead letters", Permission.LETTERS_READ),
    ("/ui/statistics", "Statistics", Permission.STATS_READ),
    ("/ui/limits", "Limits", Permission.STATS_READ),
)
#: States that end.
FINAL = frozenset({"succeeded", "failed", "skipped", "cancelled", "dead"})
#: Stands where there is nothing to tell.
NOTHING = text("—")
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


def page(
    title: str,
    *body: Any,
    who: Principal | None = None,
    at: str = "",
    status: int = 200,
    **live: str | None,
) -> Response:
    """A whole page. ``live`` says how it stays new: ``events``, an address; or ``every``, in s."""
    made = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", f"{title} · celery-agents"),
            tag("link", rel="stylesheet", href="/ui/ui.css"),
            tag("link", rel="icon", href="/ui/icon.svg", type="image/svg+xml"),
            tag("script", src="/ui/ui.js", type="module"),
        ),
        tag(
            "body",
            tag("a", "Skip to the content", href="#main", class_="skip"),
            _top(who, at),
            tag(
                "main",
                body,
                id="main",
                tabindex="-1",
                **{f"data_{name}": value for name, value in live.items()},
            ),
        ),
        lang="en",
    )
    content = f"<!doctype html>\n{made}".encode("utf-8", "replace")
    return Response(content, status, media_type="text/html; charset=utf-8")


def _top(who: Principal | None, at: str) -> Html:
    """The name, the places that somebody may go to, and the way out."""
    places = [
        tag("a", name, href=path, aria_current="page" if path == at else None)
        for path, name, needed in _PLACES
        if who is not None and who.may(needed)
    ]
    way_out = tag(
        "form", tag("button", "Sign out", class_="plain"), method="post", action="/ui/sign-out"
    )
    return tag(
        "header",
        tag(
            "a",
            tag("span", class_="mark", aria_hidden="true"),
            "celery-agents",
            href="/ui",
            class_="name",
        ),
        tag("nav", places, aria_label="Pages") if places else None,
        tag("p", class_="live", role="status", id="live"),
        way_out if who is not None and who.id != "none" else None,
        class_="top",
    )


def problem_page(error: ProblemError) -> Response:
    """An error for people."""
    title = HTTPStatus(error.status).phrase
    back = tag("p", tag("a", "Back to the runs", href="/ui", class_="button"))
    card = tag("section", heading(title), tag("p", error.detail), back, class_="card narrow")
    made = page(title, card, status=error.status)
    made.headers.update(error.headers)
    return made


def heading(title: Any, *beside: Any) -> Html:
    """The title of a page, with what stands beside it."""
    return tag("div", tag("h1", title), beside, class_="head")


def badge(state: str) -> Html:
    """A state, by word and colour."""
    return tag("span", state, class_=f"badge s-{_word(state)}")


def _word(state: str) -> str:
    """A state as a class: those that there are, else none of them."""
    return state if state.isalpha() and state.isascii() else "other"


def table(names: Iterable[Any], rows: Iterable[Html], *, empty: str, class_: str = "") -> Html:
    """A table; of no rows the words for that."""
    body = [*rows]
    if not body:
        return tag("p", empty, class_="empty")
    head = tag("thead", tag("tr", (tag("th", name, scope="col") for name in names)))
    whole = tag("table", head, tag("tbody", body), class_=class_ or None)
    return tag("div", whole, class_="table")


def cell(label: str, *children: Any, class_: str | None = None, **about: Any) -> Html:
    """A cell; a phone shows its label beside it, and leaves out a cell that says nothing."""
    nothing = len(children) == 1 and (children[0] is None or children[0] == NOTHING)
    return tag("td", children, class_="none" if nothing else class_, data_label=label, **about)


def short(text: str, most: int) -> str:
    """The beginning of a text that is longer than so many characters."""
    return text if len(text) <= most else f"{text[:most]}…"


def moment(at: float | None) -> Html:
    """A time of the day, in UTC; the script says it in the reader's own."""
    if at is None:
        return NOTHING
    when = datetime.fromtimestamp(at, UTC)
    return tag("time", when.strftime("%Y-%m-%d %H:%M:%S"), datetime=when.isoformat())


def lasting(seconds: float | None) -> str:
    """Seconds for people."""
    if seconds is None:
        return NOTHING
    seconds = max(seconds, 0.0)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < _MINUTE_S:
        return f"{seconds:.1f} s"
    if seconds < _HOUR_S:
        return f"{seconds // _MINUTE_S:.0f} min {seconds % _MINUTE_S:.0f} s"
    if seconds < _DAY_S:
        return f"{seconds // _HOUR_S:.0f} h {seconds % _HOUR_S // _MINUTE_S:.0f} min"
    return f"{seconds // _DAY_S:.0f} d {seconds % _DAY_S // _HOUR_S:.0f} h"


def tokens(usage: Mapping[str, Any] | None) -> str:
    """Tokens in and out; a dash where there were none."""
    told = usage or {}
    read, written = told.get("input_tokens") or 0, told.get("output_tokens") or 0
    return f"{read:,} → {written:,}" if read or written else NOTHING


def dollars(usd: float | None) -> str:
    """A sum; small ones keep their digits."""
    if usd is None:
        return "unknown"
    if usd == 0:
        return NOTHING
    return f"${usd:,.2f}" if usd >= 1 else f"${usd:.4f}"


def cost(usage: Mapping[str, Any] | None) -> str:
    """The cost of some usage."""
    return NOTHING if usage is None else dollars(usage.get("cost_usd", 0.0))


def verb(task: str | None) -> str:
    """The name of a task without the prefix of ours."""
    return (task or NOTHING).removeprefix("agents.")


def shares(parts: Iterable[tuple[str, float]]) -> Html:
    """Shares of steps by state, side by side in a bar."""
    made, at = [], 0.0
    for name, share in parts:
        made.append(
            tag(
                "rect",
                x=f"{at * 100:.2f}%",
                width=f"{share * 100:.2f}%",
                height="100%",
                class_=f"f-{name}",
            )
        )
        at += share
    return tag("svg", made, class_="bar", aria_hidden="true")


def options(given: Mapping[str, str], chosen: str) -> Iterator[Html]:
    """The values that may be chosen, in words."""
    for value, words in given.items():
        yield tag("option", words, value=value, selected=value == chosen)


def facts(*told: tuple[str, Any]) -> Html:
    """Names and values, side by side."""
    pairs = [tag("div", tag("dt", name), tag("dd", value)) for name, value in told]
    return tag("dl", pairs, class_="facts")
