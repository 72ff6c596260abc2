"""HTML as values: what is no :class:`Html` is text, whatever it holds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Any
from urllib.parse import quote, urlencode

#: Elements without an end tag.
_VOID = frozenset({"meta", "link", "input", "br", "hr"})
#: Characters of one value that a page shows.
SHOWN_MAX = 4_000


class Html(str):
    """Markup; made by :func:`tag` alone."""

    __slots__ = ()


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """An element. ``class_`` is ``class``, ``data_live`` is ``data-live``; None and False: none.

    Raises:
        ValueError: an attribute that would be a script or a style, which the policy forbids.
    """
    told = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{told}>")
    return Html(f"<{name}{told}>{text(children)}</{name}>")


def text(value: Any) -> Html:
    """Content of an element: markup as it is, sequences one after the other, else text."""
    if value is None:
        return Html("")
    if isinstance(value, Html):
        return value
    if isinstance(value, str):
        return Html(escape(value))
    if isinstance(value, Iterable):
        return Html("".join(map(text, value)))
    return Html(escape(str(value)))


def address(*parts: str, **query: str | None) -> str:
    """The address of a page: its parts below ``/ui``, and what is asked of it."""
    path = "/".join(quote(part, safe="", errors="replace") for part in ("ui", *parts))
    told = urlencode({k: v for k, v in query.items() if v}, errors="replace")
    return f"/{path}?{told}" if told else f"/{path}"


def _attribute(key: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if name == "style" or name.startswith("on"):
        raise ValueError(f"{name} is no attribute of these pages: styles and scripts are files.")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


def shown(value: Any, most: int = SHOWN_MAX) -> Html:
    """A JSON value for people: a text as it is, else indented; long ones are cut, and say so."""
    said = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    cut = len(said) - most
    more = tag("p", f"{cut:,} more characters", class_="quiet") if cut > 0 else None
    words = tag("pre", said[:most], class_="value", tabindex="0")
    return text((words, more))
