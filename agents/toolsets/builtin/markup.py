"""HTML that others wrote: its bounds, and its text."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from agents.tools.calls import ToolError

_MAX_DEPTH = 150
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)")
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
    """The same as Markdown."""
    page_of, converter = _converter(links)
    told: str = converter.convert_soup(page_of(html))
    return told


@cache
def _converter(links: bool) -> tuple[Callable[[str], Any], Any]:
    """The reader of a page, and its writer, whose options take long to be read."""
    import markdownify

    from agents.toolsets.builtin.soup import page_of

    converter: Any = markdownify.MarkdownConverter(
        heading_style="ATX", strip=[] if links else ["a", "img"]
    )
    names = ["[document]", *(f"h{n}" for n in range(1, 7))]
    names += [name.removeprefix("convert_") for name in dir(converter)]
    known = {name: converter.get_conv_fn(name) for name in names}
    # Names that others make up are not kept.
    converter.get_conv_fn_cached = lambda name: known.get(name) or converter.get_conv_fn(name)
    return page_of, converter
