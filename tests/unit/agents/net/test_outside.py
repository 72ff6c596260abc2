"""URLs of others lead to the internet, or to hosts that are allowed, by whatever name."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from functools import wraps
from ipaddress import ip_address
from typing import Any, Self

import httpx2
import pytest

from agents.net.outside import PrivateHosts, is_public, outside_client
from celery_agents.errors import AddressRefusedError
from deploy.local.servers import LOOPBACK
from tests.support.ports import free_port

PRIVATE = [
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1"),
    *("169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16"),  # metadata
    *("224.0.0.1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "203.0.113.1"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:db8::1"),
    *("fec0::1", "::7f00:1", "::a00:1", "::808:808", "2001:0:1:2::f5ff:fffe", "2001:10::1"),
    *("4000::1", "9000::1", "100::1", "2001:db8:ffff::1", "::ffff:100.64.0.1", "2002:a00:1::1"),
    *("64:ff9b:1::7f00:1", "192.88.99.1", "192.0.0.8", "3fff::1", "5f00::1", "224.0.0.251"),
]
PUBLIC = ["93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::5db8:d822", "2a00:145::1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses(address: str) -> None:
    assert not is_public(ip_address(address))
    with pytest.raises(AddressRefusedError, match="private"):
        PrivateHosts().check("example.com", [PUBLIC[0], address], encrypted=True)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_public(ip_address(address))
    PrivateHosts().check("example.com", [address], encrypted=True)
    with pytest.raises(AddressRefusedError, match="https"):
        PrivateHosts().check("example.com", [address], encrypted=False)


@pytest.mark.parametrize(
    ("entry", "host", "address", "allowed"),
    [
        ("127.0.0.1", "x", "127.0.0.1", True),
        ("127.0.0.1", "x", "127.0.0.2", False),
        ("10.0.0.0/8", "x", "10.9.9.9", True),
        ("10.0.0.0/8", "x", "::ffff:10.9.9.9", False),  # not as it was allowed
        ("[fd00::]/8", "x", "10.0.0.1", False),
        ("fd00::/8", "x", "fd12::1", True),
        ("Hooks.internal", "hooks.INTERNAL.", "10.0.0.1", True),
        ("hooks.internal", "evil.hooks.internal", "10.0.0.1", False),
        ("hooks.internal", "hooks.internal.evil", "10.0.0.1", False),
    ],
)
def test_hosts_that_are_allowed(entry: str, host: str, address: str, *, allowed: bool) -> None:
    assert PrivateHosts.of([entry]).admit(host, ip_address(address)) is allowed


def test_a_url_with_an_address_is_seen_at_once() -> None:
    for url in ("http://127.0.0.1/", "https://[::1]:80/", "http://1.1.1.1/"):
        with pytest.raises(AddressRefusedError):
            PrivateHosts().check_url(url)
    PrivateHosts().check_url("https://1.1.1.1/")
    PrivateHosts().check_url("http://anybody/")  # as long as nobody has looked
    PrivateHosts.of(["127.0.0.1"]).check_url("http://127.0.0.1/")


def on_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test that is a coroutine, with a limit of seconds."""

    @wraps(test)
    def run(**given: Any) -> None:
        async def limited() -> None:
            async with asyncio.timeout(20):
                await test(**given)

        asyncio.run(limited())

    return run


class Server:
    """Whoever is connected to, and what was sent there."""

    def __init__(self) -> None:
        self.port = free_port()
        self.heard: list[bytes] = []

    async def __aenter__(self) -> Self:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.heard.append(await reader.readuntil(b"\r\n\r\n"))
            away = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.2/\r\ncontent-length: 0\r\n\r\n"
            writer.write(away)
            await writer.drain()
            writer.close()

        self._server = await asyncio.start_server(serve, LOOPBACK, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()


def answering(*answers: list[str]) -> Callable[[str, int], Any]:
    """A DNS that answers otherwise each time."""
    left = list(answers)

    async def resolve(_host: str, _port: int) -> list[str]:
        return left.pop(0)

    return resolve


@on_loop
async def test_the_connection_goes_to_the_address_that_was_looked_at() -> None:
    async with Server() as server:
        # Rebinding: the second answer would be another host. Nobody asks for it.
        resolve = answering([LOOPBACK], ["127.0.0.9"])
        client = outside_client(httpx2, PrivateHosts.of(["hook.test"]), resolve)
        told = await client.post(f"http://hook.test:{server.port}/x?y", content=b"")
        assert told.status_code == 302  # and nobody goes on
        assert f"host: hook.test:{server.port}".encode() in server.heard[0].lower()
        with pytest.raises(httpx2.ConnectError):
            await client.post(f"http://hook.test:{server.port}/", content=b"")
        await client.aclose()
        assert len(server.heard) == 1


@on_loop
async def test_a_name_that_comes_to_lead_inside_is_refused() -> None:
    async with Server() as server:
        for answer in ([LOOPBACK], [PUBLIC[0], LOOPBACK], ["::1"]):
            client = outside_client(httpx2, PrivateHosts(), answering(answer))
            for scheme in ("http", "https"):
                client = outside_client(httpx2, PrivateHosts(), answering(answer))
                with pytest.raises(AddressRefusedError):
                    await client.get(f"{scheme}://hook.test:{server.port}/")
        assert server.heard == []


@on_loop
async def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Server() as proxy, Server() as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{LOOPBACK}:{proxy.port}")
        private = PrivateHosts.of([LOOPBACK])
        client = outside_client(httpx2, private)
        await client.get(f"http://{LOOPBACK}:{server.port}/")
        assert (len(proxy.heard), len(server.heard)) == (0, 1)


@on_loop
async def test_of_several_addresses_the_first_that_answers() -> None:
    async with Server() as server:
        private = PrivateHosts.of(["hook.test"])
        client = outside_client(httpx2, private, answering(["127.0.0.9", LOOPBACK]))
        await client.get(f"http://hook.test:{server.port}/")
        assert len(server.heard) == 1


@on_loop
async def test_tls_is_of_the_name() -> None:
    """What the certificate has to say is the name of the URL, wherever the connection goes."""
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_servername_callback(lambda _socket, name, _context: asked.append(name))
    server = await asyncio.start_server(lambda *_: None, LOOPBACK, 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    client = outside_client(httpx2, PrivateHosts.of(["hook.test"]), answering([LOOPBACK]))
    with pytest.raises(httpx2.ConnectError):
        await client.get(f"https://hook.test:{port}/")
    server.close()
    assert asked == ["hook.test"]
