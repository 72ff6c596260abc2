"""Going where somebody else's URL leads, and never into a private network.

A name is resolved once, all its addresses are held against the rules, and the connection goes to
one of these very addresses. So a name that answers otherwise the next time (DNS rebinding) gains
nothing, nor does one that is spelled oddly (``http://2130706433/``). Redirects are not followed and
no proxy is asked: both would go where nobody looked.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any, Self
from urllib.parse import urlsplit

from agents.net.bounds import ENCODINGS, bounded
from agents.net.clients import CONNECT_TIMEOUT_S, MAX_CONNECTIONS
from agents.net.told_limits import listen
from celery_agents.errors import AddressRefusedError

Address = IPv4Address | IPv6Address
#: Gives the addresses of a host.
Resolve = Callable[[str, int], Awaitable[list[str]]]

#: IPv4 addresses within IPv6 ones of translators (RFC 6052).
_TRANSLATED = IPv6Network("64:ff9b::/96")
#: Public addresses at which the machines of some clouds are told of themselves (Azure, Oracle);
#: those of others are link-local, private or shared.
_METADATA = (IPv4Network("168.63.129.16/32"), IPv4Network("192.0.0.0/24"))
#: Where IPv6's internet is (IANA's list of allocated space): what lies elsewhere is a network's own
#: (``fec0::/10``), stands for IPv4 (``::/96``), or is nobody's.
_ALLOCATED = IPv6Network("2000::/3")
#: What ``is_global`` of some versions of Python takes for public: relays (RFC 7526), tunnels and
#: other protocols (RFC 2928, Teredo among them), texts' examples (RFC 9637).
_RESERVED = (IPv4Network("192.88.99.0/24"), IPv6Network("2001::/23"), IPv6Network("3fff::/20"))
#: Addresses of one host that are tried.
_TRIED = 4
_PORTS = {"http": 80, "https": 443}


def is_public(address: Address) -> bool:
    """Return whether an address is one of the internet (RFC 6890), and no machine's own."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _TRANSLATED:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address not in _ALLOCATED:
            return False
    refused = any(address in network for network in (*_METADATA, *_RESERVED))
    return address.is_global and not address.is_multicast and not refused


@dataclass(frozen=True, slots=True)
class PrivateHosts:
    """Hosts, by name, address or network, that may be reached though they are private."""

    names: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str]) -> Self:
        """Read them; what is no address and no network is a name."""
        names, networks = set(), []
        for entry in entries:
            try:
                networks.append(ip_network(entry.strip("[]"), strict=False))
            except ValueError:
                names.add(entry.lower().rstrip("."))
        return cls(frozenset(names), tuple(networks))

    def admit(self, host: str, address: Address) -> bool:
        """Return whether a host is one of them."""
        if host.lower().rstrip(".") in self.names:
            return True
        return any(address.version == n.version and address in n for n in self.networks)

    def has(self, host: str) -> bool:
        """Return whether a host is this machine or one of them, without looking its name up."""
        try:
            address = ip_address(host)
        except ValueError:
            return host.lower().rstrip(".") in {"localhost", *self.names}
        return address.is_loopback or self.admit(host, address)

    def check(self, host: str, addresses: Iterable[str], *, encrypted: bool) -> None:
        """Look at all addresses of a host.

        Raises:
            AddressRefusedError: one is private, or what is sent there could be read on the way.
        """
        for told in addresses:
            address = ip_address(told)
            if self.admit(host, address):
                continue
            if not is_public(address):
                raise AddressRefusedError("The URL leads into a private network.")
            if not encrypted:
                raise AddressRefusedError("A URL that leads outside begins with https://.")

    def check_url(self, url: str) -> None:
        """Look at a URL whose host is an address: of a name only connecting can tell.

        Raises:
            AddressRefusedError: as :meth:`check`.
        """
        parts = urlsplit(url)
        host = parts.hostname or ""
        try:
            address = str(ip_address(host))
        except ValueError:
            return
        self.check(host, [address], encrypted=parts.scheme == "https")


async def resolved(host: str, port: int) -> list[str]:
    """The addresses of a host, as the machine resolves it."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@cache
def _trusted(httpx2: Any) -> ssl.SSLContext:
    """One for all clients: each reads all the certificates."""
    context: ssl.SSLContext = httpx2.create_ssl_context(trust_env=False)
    return context


def outside_client(httpx2: Any, private: PrivateHosts, resolve: Resolve = resolved) -> Any:
    """An HTTP client for URLs that others have named.

    Its requests raise, beside httpx2's errors, :class:`AddressRefusedError`. Connections are not
    kept: one that goes to an address is of the name that was looked up for it.
    """

    class Outside(httpx2.AsyncBaseTransport):
        def __init__(self) -> None:
            limits = httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=0)
            context = _trusted(httpx2)
            self._inner = httpx2.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits)

        async def handle_async_request(self, request: Any) -> Any:
            url = request.url
            host, port = url.raw_host.decode("ascii").strip("[]"), url.port or _PORTS[url.scheme]
            try:
                addresses = await resolve(host, port)
            except (OSError, UnicodeError) as error:
                text = f"{host} is not known: {error}"
                raise httpx2.ConnectError(text, request=request) from None
            private.check(host, addresses, encrypted=url.scheme == "https")
            return await self._first(request, host, addresses[:_TRIED])

        async def _first(self, request: Any, host: str, addresses: list[str]) -> Any:
            failed = httpx2.ConnectError(f"{host} has no address.", request=request)
            for address in addresses:
                there = httpx2.Request(
                    request.method,
                    request.url.copy_with(host=address),
                    headers=request.headers,
                    stream=request.stream,
                    extensions={**request.extensions, "sni_hostname": host},
                )
                try:
                    return await self._inner.handle_async_request(there)
                except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                    failed = error  # nothing was sent
            raise failed

        async def aclose(self) -> None:
            await self._inner.aclose()

    return httpx2.AsyncClient(
        transport=Outside(),
        timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S),
        follow_redirects=False,
        trust_env=False,
        headers={"Accept-Encoding": ENCODINGS},
        event_hooks={"response": [listen, bounded(httpx2)]},
    )
