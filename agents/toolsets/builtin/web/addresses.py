"""Tools of URLs themselves."""

from __future__ import annotations

import ssl
import time
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit, urlunsplit

from agents.tools.calls import ToolError
from agents.toolsets.builtin.offer import Short, offer
from agents.toolsets.builtin.web.home import Web
from agents.toolsets.builtin.web.markup import Url

_DAY_S = 86_400
_USUAL = {"http": 80, "https": 443}


@offer({"url": "https://example.com/file.txt"}, "httpx2", home="web", effects="idempotent")
async def check_url(web: Web, url: Url) -> dict[str, Any]:
    """Says how a URL answers: status, redirects, type, bytes, and days of its certificate."""
    reply = await web.ask("HEAD", url, most=0)
    if reply.status in {405, 501}:
        reply = await web.ask("GET", url, most=0)
    ends = reply.certificate.get("notAfter")
    size = reply.headers.get("content-length", "")
    return {
        "status": reply.status,
        "url": reply.url,
        "redirects": list(reply.hops),
        "type": reply.kind or None,
        "bytes": int(size) if size.isdecimal() and len(size) < 16 else None,  # noqa: PLR2004
        "certificate_days": ends and int((ssl.cert_time_to_seconds(ends) - time.time()) / _DAY_S),
    }


@offer({"url": "HTTPS://Example.com:443/a/../b?x=1#top", "query": {"y": "2 3"}}, inline=500)
def parse_url(
    url: Url, relative: Url = "", query: dict[Short, Short | None] | None = None
) -> dict[str, Any]:
    """Takes a URL apart, normalised; relative is joined to it, query sets parameters, or drops."""
    try:
        parts = urlsplit(urljoin(url.strip(), relative.strip()))
        host, port = parts.hostname or "", parts.port
        name = host.encode("idna").decode() if not host.isascii() else host
    except ValueError as error:
        raise ToolError(f"{url[:200]!r} is no URL: {error}.") from None
    if not parts.scheme:
        raise ToolError(f"{url[:200]!r} has no scheme: begin with https://.")
    given = query or {}
    pairs = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if k not in given]
    pairs += [(k, v) for k, v in given.items() if v is not None]
    shown = f"[{name}]" if ":" in name else name
    where = shown if port in {None, _USUAL.get(parts.scheme)} else f"{shown}:{port}"
    path = parts.path
    if where:
        path = quote(_without_dots(path), safe="/%:@!$&'()*+,;=~-._")
    made = (parts.scheme, where, path, urlencode(pairs), parts.fragment)
    return {
        "url": urlunsplit(made),
        "scheme": parts.scheme,
        "host": name,
        "port": port or _USUAL.get(parts.scheme),
        "path": path,
        "query": [list(pair) for pair in pairs],
        "fragment": parts.fragment,
        "has_credentials": "@" in parts.netloc,
    }


def _without_dots(path: str) -> str:
    """The path of a URL with a host, so that /a/../b is /b (RFC 3986, 5.2.4)."""
    if "/." not in path:
        return path or "/"
    kept: list[str] = []
    *above, last = path.split("/")[1:]
    for part in above:
        if part == "..":
            del kept[-1:]
        elif part != ".":
            kept.append(part)
    if last == "..":
        del kept[-1:]
    kept.append("" if last in {".", ".."} else last)
    return f"/{'/'.join(kept)}"


TOOLS = (check_url, parse_url)
