"""An HTTP service whose operations are called, by whoever has the secrets for it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from agents.net.clients import ResolveSecret, SharedClients, secret_named
from agents.net.faults import scrub
from agents.net.outside import PrivateHosts, outside_client
from agents.timing import in_time
from agents.tools.calls import ToolError, ToolFailedError, too_late
from agents.toolsets.openapi.entries import OpenApiTools
from agents.toolsets.openapi.requests import ServiceRequest
from agents.values import json_or_text
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import AddressRefusedError

#: Statuses at which the same request may succeed a moment later (RFC 9110, 15.6; RFC 6585, 4).
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
#: Characters of an error's body that a model is told.
_TOLD_MAX = 2_000
#: Clients of servers that a configuration names, and of those that only a description names.
_NAMED, _OUTSIDE = "openapi", "openapi:outside"
_NEXT = re.compile(r'<([^<>]*)>[^,<]*;\s*rel="?next\b', re.IGNORECASE)


class HttpService:
    """Sends requests to one server, with its secrets; redirects are not followed.

    A server that the configuration names may be anywhere, as other agents' services may. One that
    only the description names is of the internet, or it is not asked.
    """

    def __init__(
        self,
        name: str,
        entry: OpenApiTools,
        server: str,
        *,
        clients: SharedClients,
        resolve_secret: ResolveSecret,
    ) -> None:
        self._name, self._entry, self._server = name, entry, server
        self._clients, self._resolve_secret = clients, resolve_secret

    async def send(self, prepared: ServiceRequest, *, key: str, pages: int) -> JsonValue:
        """The answer to a request; of a list that goes on, of up to ``pages`` pages.

        Raises:
            ToolError: it was refused, or cannot be told.
            ToolFailedError: another try may succeed.
            MissingKeyError: a secret is not set.
        """
        secrets: list[str] = []
        headers = self._headers(prepared, key, secrets)
        url = prepared.url(self._server)  # once its query has the secrets that belong there
        found: list[Any] = []
        for number in range(pages):
            response, value = await self._asked(prepared, url, headers, secrets)
            after = self._next(url, response, value) if pages > 1 else None
            if not number and after is None:
                return value
            items = self._items(value)
            found += items if isinstance(items, list) else [items]
            if after is None:
                return found
            url = after
        return {"items": found, "more": True}

    def _headers(self, prepared: ServiceRequest, key: str, secrets: list[str]) -> dict[str, str]:
        auth = self._entry.auth
        headers = {**prepared.headers, "Accept": "application/json, */*;q=0.1"}
        if prepared.method not in {"GET", "HEAD", "OPTIONS"}:
            headers["Idempotency-Key"] = key

        def secret(named: str) -> str:
            secrets.append(secret_named(named, self._resolve_secret, purpose=self._name))
            return secrets[-1]

        if auth.bearer_env is not None:
            headers["Authorization"] = f"Bearer {secret(auth.bearer_env)}"
        if auth.user is not None and auth.password_env is not None:
            told = base64.b64encode(f"{auth.user}:{secret(auth.password_env)}".encode()).decode()
            secrets.append(told)
            headers["Authorization"] = f"Basic {told}"
        headers |= {name: secret(named) for name, named in auth.headers.items()}
        cookies = [*prepared.cookies, *_pairs(auth.cookies, secret)]
        prepared.query += _pairs(auth.query, secret)
        if cookies:
            headers["Cookie"] = "; ".join(cookies)
        return headers

    async def _asked(
        self, prepared: ServiceRequest, url: str, headers: Mapping[str, str], secrets: list[str]
    ) -> tuple[Any, JsonValue]:
        httpx2 = await self._clients.load("httpx2", extra="http")
        limit = self._entry.request_timeout_s
        act = self._exchange(httpx2, prepared, url, headers)
        try:
            late = lambda: ToolFailedError(too_late(self._name, limit))  # noqa: E731
            response, content = await in_time(limit, act, late)
        except AddressRefusedError as error:
            text = f"{error.message} Name it: server = … in [tools.{self._name}]."
            raise ToolError(text) from None
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            text = _scrubbed(f"{type(error).__name__}: {error}", secrets)
            raise ToolFailedError(f"{self._name} does not answer: {text}") from None
        if not response.is_success:
            raise _refusal(response, content, secrets)
        return response, _value(response, content, prepared.method)

    async def _exchange(
        self, httpx2: Any, prepared: ServiceRequest, url: str, headers: Mapping[str, str]
    ) -> tuple[Any, bytes]:
        most = self._entry.max_response_bytes
        content = bytearray()
        request = self._client(httpx2).stream(
            prepared.method, url, headers=dict(headers), **prepared.body
        )
        async with request as response:
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > most:
                    raise ToolError(f"{self._name} answered with more than {most:,} bytes.")
        return response, bytes(content)

    def _client(self, httpx2: Any) -> Any:
        if self._entry.server is not None:
            return self._clients.get(_NAMED, lambda: self._clients.http(httpx2))
        return self._clients.get(_OUTSIDE, lambda: outside_client(httpx2, PrivateHosts()))

    async def aclose(self) -> None:
        """Close the HTTP clients, which the services of a process share."""
        for key in (_NAMED, _OUTSIDE):
            if (client := self._clients.take(key)) is not None:
                await client.aclose()

    def _next(self, url: str, response: Any, value: JsonValue) -> str | None:
        """The address of the next page, of the same server alone: it gets the secrets."""
        pages = self._entry.pages
        if pages is None:
            return None
        if pages.field is None:
            found = _NEXT.search(response.headers.get("link", ""))
            after = str(urljoin(url, found[1])) if found else None
        else:
            mark = _at(value, pages.field)
            if mark is None or mark == "" or not isinstance(mark, str | int):
                return None
            after = _with(url, str(pages.parameter), str(mark))
        if after is None or urlsplit(after)[:2] != urlsplit(url)[:2]:
            return None
        return after

    def _items(self, value: JsonValue) -> JsonValue:
        pages = self._entry.pages
        return value if pages is None or pages.items is None else _at(value, pages.items)


def _pairs(named: Mapping[str, str], secret: Any) -> list[str]:
    return [f"{quote(name, safe='')}={quote(secret(one), safe='')}" for name, one in named.items()]


def _with(url: str, name: str, value: str) -> str:
    """The address with another value of a parameter."""
    parts = urlsplit(url)
    told = quote(name, safe="")
    rest = [p for p in parts.query.split("&") if p and p.partition("=")[0] != told]
    return parts._replace(query="&".join([*rest, f"{told}={quote(value, safe='')}"])).geturl()


def _at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _value(response: Any, content: bytes, method: str) -> JsonValue:
    media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if method == "HEAD":
        kept = ("content-type", "content-length", "etag", "last-modified", "location")
        return {name: response.headers[name] for name in kept if name in response.headers}
    if not content:
        return {"status": response.status_code}
    if "json" in media or media.startswith("text/") or media.endswith(("xml", "yaml")):
        return json_or_text(content.decode(response.encoding or "utf-8", errors="replace"))
    return {
        "content_type": media,
        "bytes": len(content),
        "base64": base64.b64encode(content).decode(),
    }


def _refusal(response: Any, content: bytes, secrets: list[str]) -> Exception:
    status = response.status_code
    text = _scrubbed(content[:_TOLD_MAX].decode(errors="replace"), secrets)
    if 300 <= status < 400:  # noqa: PLR2004 - HTTP's redirects
        where = _scrubbed(response.headers.get("location", ""), secrets)
        return ToolError(f"HTTP {status}: it is at {where}, which is not followed.")
    kind = ToolFailedError if status in _PASSING else ToolError
    wait = response.headers.get("retry-after")
    return kind(f"HTTP {status}: {text}" + (f" (retry after {wait})" if wait else ""))


def _scrubbed(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = scrub(text, secret)
    return text
