"""Searching the web, by an engine that the configuration names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self
from urllib.parse import urlencode, urlsplit

from pydantic import Field

from agents.tools.calls import ToolError
from agents.toolsets.builtin.offer import offer
from agents.toolsets.builtin.web.home import Web, WebReply
from agents.toolsets.entries import SearchEngine

_SHOWN = 500


@dataclass(frozen=True, slots=True)
class Search:
    """An engine, and the way to it."""

    engine: SearchEngine
    web: Web

    @classmethod
    def of(cls, engine: SearchEngine, web: Web) -> Self:
        """Make it; the host of its URL, which the configuration names, may be private."""
        if engine.url is None:
            return cls(engine, replace(web, hosts=("*",)))
        host = (urlsplit(engine.url).hostname or "").lower()
        private = replace(web.private, names=web.private.names | {host})
        return cls(engine, replace(web, hosts=("*",), private=private))

    def key(self) -> str:
        """The engine's key.

        Raises:
            ToolError: it is not set.
        """
        name = self.engine.key_env or ""
        if not (found := self.web.resolve_secret(name)):
            raise ToolError(f"{name} is not set in the worker's environment.")
        return found


@offer(
    {"query": "durable agents"},
    "httpx2",
    home="search",
    effects="idempotent",
    untrusted=True,
)
async def web_search(
    home: Search,
    query: Annotated[str, Field(min_length=1, max_length=400)],
    most: Annotated[int, Field(ge=1, le=20)] = 8,
) -> list[dict[str, Any]]:
    """Searches the web: titles, URLs and excerpts, the best first."""
    reply = await _ASK[home.engine.engine](home, query, most)
    if reply.status != 200:  # noqa: PLR2004 - the code of success
        start = reply.body[:200].decode(errors="replace")
        raise ToolError(f"The search answered with status {reply.status}: {start}")
    try:
        found = json.loads(reply.body)
        results = found["web"]["results"] if home.engine.engine == "brave" else found["results"]
        return [_told(one) for one in results[:most]]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ToolError("The search's answer is none of its kind. Look at its url.") from None


async def _searxng(home: Search, query: str, _most: int) -> WebReply:
    asked = urlencode({"q": query, "format": "json"})
    return await home.web.ask("GET", f"{(home.engine.url or '').rstrip('/')}/search?{asked}")


async def _brave(home: Search, query: str, most: int) -> WebReply:
    url = home.engine.url or "https://api.search.brave.com/res/v1/web/search"
    asked, key = urlencode({"q": query, "count": most}), home.key()
    headers = {"X-Subscription-Token": key, "Accept": "application/json"}
    return await home.web.ask("GET", f"{url}?{asked}", headers=headers, sent=key)


async def _tavily(home: Search, query: str, most: int) -> WebReply:
    key = home.key()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    content = json.dumps({"query": query, "max_results": most}).encode()
    url = home.engine.url or "https://api.tavily.com/search"
    return await home.web.ask("POST", url, headers=headers, content=content, sent=key)


def _told(one: Mapping[str, Any]) -> dict[str, Any]:
    text = one.get("content") or one.get("description") or ""
    date = one.get("publishedDate") or one.get("published_date") or one.get("page_age")
    return {"title": one.get("title"), "url": one.get("url"), "text": text[:_SHOWN], "date": date}


_ASK: Mapping[str, Callable[[Search, str, int], Any]] = {
    "searxng": _searxng,
    "brave": _brave,
    "tavily": _tavily,
}

TOOLS = (web_search,)
