"""HTML that others wrote: its bounds, and its text."""

from __future__ import annotations

import copy
import re
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
    page_class, converter = _converter(links)
    own = copy.copy(converter)
    own.convert_fn_cache = {}  # by the tags' names, of which others make up any number
    told: str = own.convert_soup(page_class(html))
    return told


@cache
def _converter(links: bool) -> tuple[Any, Any]:
    """A class of pages, and what writes one down: its options take long to be read."""
    import bs4
    import markdownify

    class Near:
        """An element that is asked, of each below it, whether a ``pre`` is around that."""

        parent: Any

        def find_parent(self, name: Any = None, attrs: Any = None, **more: Any) -> Any:
            """The nearest one of that name: without the library's search by any criteria."""
            if attrs or more or type(name) is not str:  # another version of it may ask for more
                whole: Any = super()
                return whole.find_parent(name, attrs or {}, **more)
            one = self.parent
            while one is not None and one.name != name:
                one = one.parent
            return one

    class Element(Near, bs4.Tag): ...

    class Page(Near, bs4.BeautifulSoup):
        def __init__(self, html: str) -> None:
            super().__init__(html, "html.parser", element_classes={bs4.Tag: Element})

    strip = [] if links else ["a", "img"]
    return Page, markdownify.MarkdownConverter(heading_style="ATX", strip=strip)
