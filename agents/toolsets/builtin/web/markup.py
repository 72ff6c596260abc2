"""Tools of HTML that is there already."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urljoin, urlsplit

from pydantic import Field

from agents.tools.calls import ToolError
from agents.toolsets.builtin.markup import check_depth
from agents.toolsets.builtin.offer import Document, Short, offer

#: What selectors take time with the square of, and parts of them that each do.
_MAX_ELEMENTS, _MAX_FILTERS = 10_000, 4
_MAX_CELLS = 20_000
Url = Annotated[str, Field(max_length=4_000)]


@offer({"html": "<p class=a>one</p><p>two</p>", "css": "p.a"}, "selectolax")
def select_html(
    html: Document,
    css: Annotated[str, Field(max_length=300)],
    give: Literal["text", "html", "attribute", "table"] = "text",
    attribute: Short = "href",
    most: Annotated[int, Field(ge=1, le=1_000)] = 100,
) -> list[Any]:
    """Selects elements by CSS: their text, their HTML, an attribute, or rows of tables."""
    if css.count(":") > _MAX_FILTERS or css.count(":has") > 1:
        raise ToolError(f"A selector has up to {_MAX_FILTERS} filters like :not(…), one of :has.")
    page = parsed(html)
    try:
        found = page.css(css)[:most]
    except Exception as error:  # noqa: BLE001 - selectolax raises several kinds
        raise ToolError(f"{css!r} is no selector: {str(error)[:200]}") from None
    if give == "table":
        return [_rows(one) for one in found]
    if give == "attribute":
        return [one.attributes.get(attribute) for one in found]
    return [one.html if give == "html" else text_of(one) for one in found]


@offer(
    {"html": '<a href="/b">B</a> <a href="https://x.org/">X</a>', "base_url": "https://a.org/a"},
    "selectolax",
)
def extract_links(html: Document, base_url: Url) -> dict[str, list[dict[str, str]]]:
    """Extracts links with their texts, absolute: those of the same host, and others."""
    try:
        urlsplit(base_url)
    except ValueError:
        raise ToolError(f"{base_url[:200]!r} is no URL. Write e.g. https://example.com/a") from None
    return links_of(parsed(html), base_url)


def parsed(html: str) -> Any:
    """A page, read.

    Raises:
        ToolError: it is nested too deep, or has too many elements.
    """
    from selectolax.lexbor import LexborHTMLParser

    check_depth(html)
    if html.count("<") > 2 * _MAX_ELEMENTS:
        raise ToolError(f"The HTML has more than {_MAX_ELEMENTS:,} elements. Give a part of it.")
    return LexborHTMLParser(html)


def links_of(page: Any, base_url: str) -> dict[str, list[dict[str, str]]]:
    """The links of a page, by whether they stay at its host; each once."""
    base = page.css_first("base[href]")
    start = _joined(base_url, (base.attributes.get("href") or "") if base else "") or base_url
    host = urlsplit(base_url).hostname
    found: dict[str, dict[str, dict[str, str]]] = {"inner": {}, "outer": {}}
    for one in page.css("a[href]"):
        url = _joined(start, (one.attributes.get("href") or "").strip()).partition("#")[0]
        parts = urlsplit(url)
        if parts.scheme in {"http", "https"} and parts.hostname:
            where = "inner" if parts.hostname == host else "outer"
            found[where].setdefault(url, {"url": url, "text": text_of(one)[:200]})
    return {where: list(those.values()) for where, those in found.items()}


def _joined(base: str, url: str) -> str:
    """A URL within another one; nothing where it is none."""
    try:
        joined = urljoin(base, url)
        urlsplit(joined)
    except ValueError:
        return ""
    return joined


def text_of(element: Any) -> str:
    """The text of an element, its blanks made one."""
    return " ".join(element.text(separator=" ").split())


def _rows(table: Any) -> list[list[str]]:
    rows = [[text_of(cell) for cell in row.css("td, th")] for row in table.css("tr")]
    if sum(map(len, rows)) > _MAX_CELLS:
        raise ToolError("The table has too many cells. Select a part of it.")
    return rows


TOOLS = (select_html, extract_links)
