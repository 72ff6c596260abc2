"""HTML that others wrote: its bounds, and its text."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from agents.tools.calls import ToolError
from agents.toolsets.builtin.deadlines import time_limit

_MAX_DEPTH = 150
#: Seconds of computing within which a page is Markdown.
_LIMIT_S = 0.8
#: More of it than anybody sees, with which the patterns of readers take time with the square of.
_BLANK = re.compile(r"(\s{200})\s+")
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)")
#: As the library has it, of which there are six; without those that it would not read.
_HEADING = re.compile(r"h\d{1,9}")
#: The writer's attributes that are named as what writes a tag, and write none.
_NO_TAGS = {"soup", "list", "fn_cache", "hN", "_document_"}
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "wbr"}


def check_depth(html: str) -> None:
    """Look how deep elements are nested: readers of HTML take time with the square of that.

    Raises:
        ToolError: it is too deep.
    """
    depth = 0
    for tag in _TAG.finditer(html):
        if tag.group(2).lower() not in _VOID:
            depth += -1 if tag.group(1) else 1
            if depth > _MAX_DEPTH:
                raise ToolError("The HTML is nested too deep. Give a part of it.")


def as_markdown(html: str, *, links: bool) -> str:
    """The same as Markdown.

    Raises:
        ToolError: it takes too long. Numbers of lists, and comments without an end, take time with
            the square of how many there are.
    """
    is_over = time_limit(_LIMIT_S)

    def look() -> None:
        if is_over():
            raise ToolError("The HTML takes too long to be read. Give a part of it.")

    page_of, converter, known = _converter(links)
    own = copy.copy(converter)

    def conversion(name: str) -> Any:
        look()
        if (found := known.get(name)) is None and _HEADING.fullmatch(name):
            return known[f"h{min(max(int(name[1:]), 1), 6)}"]
        return found

    own.get_conv_fn_cached = conversion
    told: str = own.convert_soup(page_of(_BLANK.sub(r"\1", html), look))
    return told


@cache
def _converter(links: bool) -> tuple[Callable[..., Any], Any, dict[str, Any]]:
    """The reader of a page, and its writer, whose options take long to be read."""
    import markdownify

    from agents.toolsets.builtin.soup import page_of

    converter: Any = markdownify.MarkdownConverter(
        heading_style="ATX", strip=[] if links else ["a", "img"]
    )
    names = {name.removeprefix("convert_") for name in dir(converter) if "convert_" in name}
    names |= {"[document]", *(f"h{n}" for n in range(1, 7))}
    return page_of, converter, {name: converter.get_conv_fn(name) for name in names - _NO_TAGS}
