"""Beautiful Soup's tree of a page, of its own reader's words, in half of its time.

Its elements have what is asked of them once they are there, and no more. Imported when it is used,
as the library is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bs4.builder._htmlparser import HTMLParserTreeBuilder
from bs4.element import NavigableString, Tag

#: Of which a text between elements may be made up.
_SPACES = " \n\t\f\r"


def page_of(html: str, look: Callable[[], None] = lambda: None) -> Tag:
    """The root of a page's tree; ``look`` is called at each part, and may raise."""
    return _Soup(html, look).page


class _Element(Tag):
    prefix: Any = None
    namespace: Any = None
    next_sibling: Any = None
    next_element: Any = None
    known_xml: Any = False
    hidden = False

    def __init__(self, name: str, attrs: Any, *, can_be_empty: bool) -> None:
        self.name, self.attrs, self.can_be_empty_element = name, attrs, can_be_empty
        self.contents = []

    def find_parent(self, name: Any = None, attrs: Any = None, **more: Any) -> Any:
        """The nearest one of that name: without the library's search by any criteria."""
        if attrs or more or type(name) is not str:  # another version of it may ask for more
            return super().find_parent(name, attrs or {}, **more)
        one = self.parent
        while one is not None and one.name != name:
            one = one.parent
        return one


class _Soup:
    """All that the reader asks for, in place of the library's class."""

    contains_replacement_characters = False

    def __init__(self, html: str, look: Callable[[], None]) -> None:
        self._look = look
        self.builder: Any = HTMLParserTreeBuilder(store_line_numbers=False)
        self.builder.soup = self  # type: ignore[assignment]  # it has what is asked for
        self.page = _Element("[document]", {}, can_be_empty=False)
        self.page.parent = self.page.previous_element = self.page.previous_sibling = None
        self._last: Any = self.page
        self._open: list[Any] = [self.page]
        self._texts: list[str] = []
        self.builder.feed(html)
        self.endData()

    def handle_starttag(self, name: str, _: Any, __: Any, attrs: Any, **_lines: Any) -> Tag:
        """Begin an element."""
        self.endData()
        found = _Element(name, attrs, can_be_empty=self.builder.can_be_empty_element(name))
        self._append(found)
        self._open.append(found)
        return found

    def handle_endtag(self, name: str) -> None:
        """End the last element of that name, with all within it."""
        self._look()
        self.endData()
        for place in range(len(self._open) - 1, 0, -1):
            if self._open[place].name == name:
                del self._open[place:]
                return

    def handle_data(self, text: str) -> None:
        """Take a part of a text."""
        self._look()
        self._texts.append(text)

    def endData(self, kind: Any = NavigableString) -> None:  # noqa: N802 - as the reader calls it
        """Add the text that has ended."""
        if not self._texts:
            return
        text = "".join(self._texts)
        self._texts.clear()
        kept = self.builder.preserve_whitespace_tags
        if not text.strip(_SPACES) and not any(one.name in kept for one in self._open):
            text = "\n" if "\n" in text else " "
        self._append(kind(text))

    def _append(self, node: Any) -> None:
        node.parent = self._open[-1]
        beside = node.parent.contents
        node.previous_sibling = beside[-1] if beside else None
        if beside:
            beside[-1].next_sibling = node
        beside.append(node)
        node.previous_element, self._last.next_element = self._last, node
        self._last = node
