"""Requests of tools, each hop of which goes by the guard for URLs that others have named."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urljoin, urlsplit

from agents.net.bounds import at_most
from agents.net.clients import ResolveSecret, SharedClients
from agents.net.outside import PrivateHosts, Resolve, outside_client, resolved
from agents.tools.calls import ToolError, ToolFailedError
from agents.toolsets.builtin.web.hiding import hide, hide_in
from celery_agents.errors import AddressRefusedError, BadAnswerError

MAX_BYTES = 5_000_000
#: Seconds of a request with all its hops and its body.
LIMIT_S = 30.0
_MAX_HOPS = 5
#: Characters of an error.
_ERROR_MAX = 1_000
_REDIRECTS = {301, 302, 303, 307, 308}
_SAME_METHOD = {307, 308}
#: Servers that are asked in other languages, of which HTTP may be taken for a command.
_OTHER_PORTS = {
    *range(1, 80),
    *range(81, 443),
    *range(444, 1024),
    *(1433, 1521, 2049, 2375, 2376, 3306, 3389, 4369, 5432, 5672, 5900, 6000, 6379, 6380),
    *(6443, 6667, 8500, 9042, 9092, 9200, 9300, 10250, 11211, 15672, 27017, 50000),
}
_AGENT = "celery-agents (+https://pypi.org/project/celery-agents/)"


@dataclass(frozen=True, slots=True)
class WebReply:
    """The answer to a request, after its redirects."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    #: URLs that led here, the first one first.
    hops: tuple[str, ...] = ()
    certificate: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Its media type, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Web:
    """The way out of a toolset.

    Args:
        clients: those of the process.
        private: private hosts that may be reached.
        hosts: patterns of those that may be reached at all.
        secrets: the host where each secret may go, by the name of its variable.
        resolve_secret: gives a secret.
        resolve: looks names up.
    """

    clients: SharedClients
    private: PrivateHosts
    resolve_secret: ResolveSecret
    hosts: tuple[str, ...] = ("*",)
    secrets: Mapping[str, str] = field(default_factory=dict)
    resolve: Resolve = resolved
    limit_s: float = LIMIT_S

    async def get(self, url: str, *, most: int = MAX_BYTES, secret: str | None = None) -> WebReply:
        """A good answer to a GET. Raises as :meth:`ask`, also of an answer that is none."""
        reply = await self.ask("GET", url, most=most, secret=secret)
        if not 200 <= reply.status < 300:  # noqa: PLR2004 - codes of success
            start = reply.body[:200].decode(errors="replace")
            raise ToolError(f"{reply.url} answered with status {reply.status}: {start}")
        return reply

    async def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        most: int = MAX_BYTES,
        secret: str | None = None,
        sent: str = "",
    ) -> WebReply:
        """The answer to a request, at the end of its redirects.

        Neither it nor an error has the secret in it: servers that say what they were sent would
        tell the model. ``sent`` is one that the headers have already.

        Raises:
            ToolError: the URL leads where it may not, or the answer is too long.
            ToolFailedError: nobody answered, or not in time.
        """
        given = {"User-Agent": _AGENT, **(headers or {})}
        if secret:
            sent = self._secret(url, secret)
            given["Authorization"] = f"Bearer {sent}"
        try:
            reply = await self._answer(method, url, given, content, most)
        except ToolError as error:
            raise type(error)(hide(sent, str(error))[:_ERROR_MAX]) from None
        return _hidden(sent, reply) if sent else reply

    async def _answer(
        self, method: str, url: str, headers: dict[str, str], content: bytes, most: int
    ) -> WebReply:
        """The same, without a thought of secrets."""
        httpx2 = await self.clients.load("httpx2", extra="http")
        key = ("tools", self.private, self.resolve)
        client = self.clients.get(key, lambda: outside_client(httpx2, self.private, self.resolve))
        try:
            async with asyncio.timeout(self.limit_s):
                return await self._follow(client, method, url, headers, content, most)
        except AddressRefusedError as error:
            raise ToolError(f"{url[:200]}: {error.message}") from None
        except BadAnswerError as error:
            raise ToolError(f"{error.message} Ask for a part of it.") from None
        except TimeoutError:
            told = f"{url[:200]} did not answer within {self.limit_s:g} s."
            raise ToolFailedError(told) from None
        except httpx2.InvalidURL as error:
            raise ToolError(f"{url[:200]!r} is no URL: {error}.") from None
        except httpx2.HTTPError as error:
            told = f"{url[:200]} cannot be reached: {str(error) or type(error).__name__}"
            raise ToolFailedError(told) from None

    async def _follow(
        self, client: Any, method: str, url: str, headers: dict[str, str], content: bytes, most: int
    ) -> WebReply:
        hops: list[str] = []
        while True:
            self.check(url)
            async with client.stream(method, url, headers=headers, content=content) as answer:
                away = answer.headers.get("location")
                if answer.status_code not in _REDIRECTS or not away:
                    return await _read(answer, url, tuple(hops), most)
            hops.append(url)
            if len(hops) > _MAX_HOPS:
                raise ToolError(f"{hops[0][:200]} redirects more than {_MAX_HOPS} times.")
            to = urljoin(url, away)
            if answer.status_code not in _SAME_METHOD and method != "HEAD":
                method, content = "GET", b""
            if _origin(to) != _origin(url):
                if content:
                    # Whole, for now: a part of a secret would not be known as one.
                    raise ToolError(f"Ask there yourself: the body was not sent on to {to}")
                headers = {"User-Agent": _AGENT}  # what was for one server is not for another
            url = to

    def check(self, url: str) -> None:
        """Look at a URL, before its host is looked up.

        Raises:
            ToolError: it is none of the web, or its host or port is none that may be reached.
        """
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError:
            raise ToolError(f"{url[:200]!r} is no URL.") from None
        if parts.scheme not in {"http", "https"} or not host:
            raise ToolError(f"{url[:200]!r} is no URL of the web: begin with https://.")
        if "@" in parts.netloc or any(sign in url for sign in "\\ \t\r\n"):
            raise ToolError("A URL has no names or passwords, backslashes or blanks here.")
        if port in _OTHER_PORTS:
            raise ToolError(f"Port {port} is none of a web server.")
        if not any(fnmatchcase(host, pattern) for pattern in self.hosts):
            told = ", ".join(self.hosts)
            raise ToolError(f"{host[:200]} is none of the hosts that may be reached: {told[:500]}.")

    def _secret(self, url: str, name: str) -> str:
        if self.secrets.get(name) != (urlsplit(url).hostname or "").lower():
            told = ", ".join(f"{one} of {host}" for one, host in self.secrets.items())
            raise ToolError(f"{name!r} is no secret of that host: {told or 'there is none'}.")
        if not (found := (self.resolve_secret(name) or "").strip()):
            raise ToolError(f"The secret {name} is not set in the worker's environment.")
        return found


def _hidden(secret: str, reply: WebReply) -> WebReply:
    return replace(
        reply,
        body=hide_in(secret, reply.body),
        url=hide(secret, reply.url),
        headers={name: hide(secret, told) for name, told in reply.headers.items()},
        hops=tuple(hide(secret, hop) for hop in reply.hops),
    )


async def _read(answer: Any, url: str, hops: tuple[str, ...], most: int) -> WebReply:
    stream = answer.extensions.get("network_stream")
    secured = None if stream is None else stream.get_extra_info("ssl_object")
    pieces = at_most(answer.aiter_bytes(), most, url[:200])
    body = b"" if most == 0 else b"".join([piece async for piece in pieces])
    headers = {name.lower(): value for name, value in answer.headers.items()}
    certificate = {} if secured is None else secured.getpeercert() or {}
    return WebReply(url, answer.status_code, headers, body, hops, certificate)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    return parts.scheme, parts.hostname or "", port
