"""Tools that read pages and data of the web."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from pydantic import Field

from agents.tools.calls import ToolError
from agents.toolsets.builtin.data.budget import counted
from agents.toolsets.builtin.data.queries import queried
from agents.toolsets.builtin.offer import MAX_DOCUMENT, Short, offer
from agents.toolsets.builtin.text_changing import html_to_markdown
from agents.toolsets.builtin.web.home import Web, WebReply
from agents.toolsets.builtin.web.markup import Url, links_of, parsed, text_of

_ASIDE = "script, style, noscript, template, nav, header, footer, aside, form, svg, iframe"
_MAIN = ("article", "main", "[role=main]", "#content", "body")
_DATES = (
    ("meta[property='article:published_time']", "content"),
    ("meta[name=date]", "content"),
    ("time[datetime]", "datetime"),
)
_LINKS_SHOWN = 50
#: Less is no article, but e.g. a preview of another one.
_LEAST_TEXT = 200
_NEXT = re.compile(r"<([^<>]+)>[^,]*;\s*rel=\"?next\"?")


@offer(
    {"url": "https://example.com/page"},
    "selectolax",
    "markdownify",
    "re2",
    "httpx2",
    home="web",
    effects="idempotent",
    untrusted=True,
)
async def fetch_page(web: Web, url: Url, links: bool = False) -> dict[str, Any]:
    """Reads a page: its main text as Markdown, title and date; with links: where it leads."""
    reply = await web.get(url)
    if reply.kind not in {"text/html", "application/xhtml+xml", ""}:
        if not reply.kind.startswith("text/") and "json" not in reply.kind:
            raise ToolError(f"{reply.url} is {reply.kind}: download_file and read_document.")
        return {"url": reply.url, "text": decoded(reply)}
    return await web.clients.in_thread(_page, reply, links, slow=True)


@offer(
    {"url": "https://example.com/data", "expression": "items[].id"},
    "jmespath",
    "httpx2",
    home="web",
    effects="idempotent",
    untrusted=True,
)
async def get_json(
    web: Web,
    url: Url,
    expression: Short = "@",
    pages: Annotated[int, Field(ge=1, le=20)] = 1,
    cursor: Short | None = None,
    secret: Short | None = None,
) -> Any:
    """Gets JSON, or what a JMESPath expression names of it, also of so many pages.

    The next page: by the Link header, or cursor: parameter=expression, or that of a whole URL.
    """
    found: list[Any] = []
    size, here = 0, url
    for number in range(pages):
        reply = await web.get(here, secret=secret)
        size += len(reply.body)
        if size > MAX_DOCUMENT * 20:
            raise ToolError("The pages are too long together. Ask for fewer.")
        value = _json(reply)
        part = await web.clients.in_thread(queried, value, expression)
        following = _next(reply, value, cursor) if pages > 1 else None
        if number == 0 and (pages == 1 or following is None):
            return part
        found += part if isinstance(part, list) else [part]
        if following is None:
            break
        here = following
    counted(found)
    return found


def decoded(reply: WebReply) -> str:
    """The text of an answer, by the encoding that it tells, or UTF-8."""
    told = re.search(r"charset=[\"']?([\w-]+)", reply.headers.get("content-type", ""))
    inside = re.search(rb"<meta[^>]{0,200}charset=[\"']?([\w-]{1,40})", reply.body[:2_000])
    name = told[1] if told else inside[1].decode() if inside else "utf-8"
    try:
        return reply.body.decode(name, errors="replace")
    except LookupError:
        return reply.body.decode(errors="replace")


def _page(reply: WebReply, links: bool) -> dict[str, Any]:
    page = parsed(decoded(reply))
    title = page.css_first("title")
    told = {
        "url": reply.url,
        "title": text_of(title) if title else None,
        "date": _date(page),
    }
    leads = links_of(page, reply.url) if links else {}
    for one in page.css(_ASIDE):
        one.decompose()
    main = next((one for css in _MAIN for one in page.css(css) if _is_text(one)), page.body)
    html = "" if main is None else main.html or ""
    text = html_to_markdown(html) if len(html) <= MAX_DOCUMENT else text_of(main)
    return {**told, "text": text, **{k: v[:_LINKS_SHOWN] for k, v in leads.items()}}


def _is_text(element: Any) -> bool:
    return element.tag == "body" or len(element.text()) >= _LEAST_TEXT


def _date(page: Any) -> str | None:
    for css, attribute in _DATES:
        found = page.css_first(css)
        if found is not None and found.attributes.get(attribute):
            return str(found.attributes[attribute])[:40]
    return None


def _json(reply: WebReply) -> Any:
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        raise ToolError(f"{reply.url} gives no JSON, but {reply.kind or 'something'}.") from None


def _next(reply: WebReply, value: Any, cursor: str | None) -> str | None:
    """The URL of the next page; None: there is none."""
    if cursor is None:
        found = _NEXT.search(reply.headers.get("link", "")[:4_000])
        return urljoin(reply.url, found[1]) if found else None
    parameter, _, expression = cursor.rpartition("=")
    told = queried(value, expression)
    if not isinstance(told, str | int) or told in {"", False}:
        return None
    if not parameter:
        return urljoin(reply.url, str(told))
    parts = urlsplit(reply.url)
    kept = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if k != parameter]
    return parts._replace(query=urlencode([*kept, (parameter, str(told))])).geturl()


TOOLS = (fetch_page, get_json)
