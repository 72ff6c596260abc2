"""Persons who sign in at MCP servers, and what is kept of that: nothing here needs the SDK."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from agents.net.clients import ResolveSecret, SharedClients
from agents.net.outside import PrivateHosts
from celery_agents import names

#: A person's login at a server as JSON: its tokens, and what renewing them takes.
Login = Mapping[str, Any]

#: Scopes as RFC 6749 has them: a server's words do not reach a command line otherwise.
_SCOPES = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*")


class UserAgent(Protocol):
    """A person with a browser."""

    @property
    def redirect_uri(self) -> str:
        """The address to which an authorization server sends the browser in the end."""

    async def sign_in(self, url: str) -> Mapping[str, str]:
        """Have them look at a page; return what the redirect brought.

        Raises:
            ConfigurationError: they did not agree, or did not come.
        """


class Logins:
    """Logins by the names of their toolsets: these live as long as the process.

    Args:
        person: who may be asked to sign in; None: nobody is there, as in a worker.
    """

    def __init__(self, person: UserAgent | None = None) -> None:
        self.person = person
        self._kept: dict[str, Login] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def read(self, name: str) -> Login | None:
        """The login of a toolset, if there is one.

        Raises:
            UnreadableValueError: there is one that cannot be decrypted here.
        """
        return self._kept.get(name)

    async def keep(self, name: str, login: Login) -> None:
        """Put a login in the place of the one before.

        Raises:
            ConfigurationError: there is no key to encrypt it with.
        """
        self._kept[name] = login

    def renewing(self, name: str) -> AbstractAsyncContextManager[None]:
        """Hold the right to renew a login: a refresh token may be good for one use alone.

        Raises:
            ProviderUnavailableError: others have held it for too long.
        """
        return self._turns[name]


@dataclass(frozen=True, slots=True)
class ServerResources:
    """The resources that the connections to servers share in one process."""

    clients: SharedClients
    resolve_secret: ResolveSecret
    #: Private hosts to which a server may lead for its authorization.
    private: PrivateHosts = field(default_factory=PrivateHosts)
    logins: Logins = field(default_factory=Logins)


def origin(url: str) -> tuple[str, str, int | None]:
    """The origin of a URL, to be held against that of another."""
    parts = urlsplit(url)
    ports = {"http": 80, "https": 443}
    return parts.scheme, (parts.hostname or "").lower(), parts.port or ports.get(parts.scheme)


def may_be_shown(page: str, own: Collection[str], private: PrivateHosts) -> bool:
    """Return whether a person may be shown a page that a server names to sign in at.

    Whoever stands on the way to an unencrypted one could read what they type there, or show
    another. So it is on this machine, on a private host, or at an origin that the entry names.
    """
    where = urlsplit(page)
    if where.scheme != "http" or "\\" in page:  # which browsers read as a slash, before a host
        return where.scheme == "https"
    return origin(page) in map(origin, own) or private.has(where.hostname or "")


def how_to(name: str, scope: str | None = None) -> str:
    """The command by which a person signs in at the server of a toolset."""
    wanted = scope is not None and _SCOPES.fullmatch(scope)
    return f"{names.COMMAND} mcp login {name}" + (
        f" --scope {shlex.quote(scope)}" if wanted and scope else ""
    )
