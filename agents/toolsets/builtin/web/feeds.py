"""Tools of what sites tell about themselves."""

from __future__ import annotations

import re
import zlib
from typing import Annotated, Any
from urllib.parse import urljoin

from pydantic import Field

from agents.tools.calls import ToolError
from agents.toolsets.builtin.deadlines import TooLateError, deadline
from agents.toolsets.builtin.offer import Short, offer
from agents.toolsets.builtin.web.home import MAX_BYTES, Web
from agents.toolsets.builtin.web.markup import Url

_MAX_FEED = 2_000_000
_LIMIT_S = 0.9
_SUMMARY = 500
#: Of a line of robots.txt: their matches take time with the power of them.
_MAX_STARS = 4
_MAX_RULES = 5_000
_GZIP = 31
Most = Annotated[int, Field(ge=1, le=1_000)]


@offer(
    {"url": "https://example.com/feed"},
    "feedparser",
    "httpx2",
    home="web",
    effects="idempotent",
    untrusted=True,
)
async def read_feed(web: Web, url: Url, most: Most = 20) -> dict[str, Any]:
    """Reads a feed of RSS or Atom: its title, and of its newest entries title, link and date."""
    reply = await web.get(url, most=_MAX_FEED)
    return await web.clients.in_thread(_feed, reply.body, most, slow=True)


@offer(
    {"url": "https://example.com/sitemap.xml"},
    "defusedxml",
    "httpx2",
    home="web",
    effects="idempotent",
    untrusted=True,
)
async def read_sitemap(
    web: Web, url: Url, contains: Short = "", most: Most = 200
) -> dict[str, Any]:
    """Reads a sitemap, or an index of sitemaps: URLs that contain a text, with lastmod."""
    reply = await web.get(url)
    return await web.clients.in_thread(_sitemap, reply.body, contains, most, slow=True)


@offer(
    {"url": "https://example.com/private/a"},
    "protego",
    "httpx2",
    home="web",
    effects="idempotent",
    untrusted=True,
)
async def check_robots(web: Web, url: Url, agent: Short = "*") -> dict[str, Any]:
    """Says whether robots.txt of a site lets an agent read a URL, how often, and its sitemaps."""
    robots = urljoin(url, "/robots.txt")
    reply = await web.ask("GET", robots, most=500_000)
    if 400 <= reply.status < 500:  # noqa: PLR2004 - there is none: RFC 9309, 2.3.1.3
        return {"allowed": True, "robots": None, "crawl_delay_s": None, "sitemaps": []}
    if reply.status >= 300:  # noqa: PLR2004 - RFC 9309, 2.3.1.4: not before it can be read
        return {"allowed": False, "robots": robots, "crawl_delay_s": None, "sitemaps": []}
    return await web.clients.in_thread(_robots, reply.body, url, agent, slow=True)


def _feed(data: bytes, most: int) -> dict[str, Any]:
    import feedparser

    try:
        with deadline(_LIMIT_S):
            feed = feedparser.parse(data)
    except TooLateError:
        raise ToolError("The feed takes too long to read.") from None
    if not feed.version and not feed.entries:
        raise ToolError("This is no feed of RSS or Atom.")
    return {
        "title": feed.feed.get("title"),
        "entries": [
            {
                "title": one.get("title"),
                "link": one.get("link"),
                "date": one.get("published") or one.get("updated"),
                "summary": re.sub(r"<[^<>]*>", " ", one.get("summary", ""))[:_SUMMARY],
            }
            for one in feed.entries[:most]
        ],
    }


def _sitemap(data: bytes, contains: str, most: int) -> dict[str, Any]:
    import defusedxml
    import defusedxml.ElementTree

    try:
        root = defusedxml.ElementTree.fromstring(_unpacked(data), forbid_dtd=True)
    except (defusedxml.DefusedXmlException, defusedxml.ElementTree.ParseError) as error:
        raise ToolError(f"This is no sitemap: {str(error)[:200]}") from None
    found = []
    for one in root:
        parts = {part.tag.rpartition("}")[2]: (part.text or "").strip() for part in one}
        if contains in parts.get("loc", ""):
            found.append({"url": parts.get("loc"), "lastmod": parts.get("lastmod")})
    kind = "index" if root.tag.endswith("sitemapindex") else "urls"
    return {"kind": kind, "found": len(found), "urls": found[:most]}


def _unpacked(data: bytes) -> bytes:
    if not data.startswith(b"\x1f\x8b"):
        return data
    unpacker = zlib.decompressobj(_GZIP)
    try:
        made = unpacker.decompress(data, MAX_BYTES)
    except zlib.error as error:
        raise ToolError(f"The sitemap cannot be unpacked: {error}.") from None
    if unpacker.unconsumed_tail:
        raise ToolError(f"Unpacked, the sitemap has more than {MAX_BYTES:,} bytes.")
    return made


def _robots(data: bytes, url: str, agent: str) -> dict[str, Any]:
    from protego import Protego

    lines = data.decode(errors="replace").splitlines()[:_MAX_RULES]
    rules = Protego.parse("\n".join(one for one in lines if one.count("*") <= _MAX_STARS))
    return {
        "allowed": rules.can_fetch(url, agent),
        "robots": urljoin(url, "/robots.txt"),
        "crawl_delay_s": rules.crawl_delay(agent),
        "sitemaps": list(rules.sitemaps)[:100],
    }


TOOLS = (read_feed, read_sitemap, check_robots)
