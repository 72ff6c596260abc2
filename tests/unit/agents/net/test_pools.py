"""Small pools: connections are used again, few are kept, and rooms are given back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx2
import pytest

from agents.net.pools import CONNECTIONS, RESTING, WIDTH, pooled


class Server:
    """Answers each request when it is let, and counts what comes."""

    def __init__(self) -> None:
        self.connections = 0
        self.open = 0
        self.waiting = 0
        self.let = asyncio.Event()
        self.news = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.waiting += 1
                await self.tell()
                await self.let.wait()
                self.waiting -= 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()
            await self.tell()

    async def sees(self, found: Callable[[Server], bool]) -> None:
        async with asyncio.timeout(60), self.news:
            await self.news.wait_for(lambda: found(self))

    async def tell(self) -> None:
        async with self.news:
            self.news.notify_all()


@asynccontextmanager
async def asked(most: int) -> AsyncIterator[tuple[Server, httpx2.AsyncClient, str]]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    transport = pooled(httpx2, most, httpx2.create_ssl_context())
    async with listening, httpx2.AsyncClient(transport=transport, timeout=30) as client:
        yield server, client, f"http://127.0.0.1:{port}/"
        server.let.set()
    await server.sees(lambda s: s.open == 0)


def scene(
    run: Callable[[Server, httpx2.AsyncClient, str], Awaitable[None]], most: int = 1000
) -> None:
    async def whole() -> None:
        async with asked(most) as (server, client, url):
            await run(server, client, url)

    asyncio.run(whole())


def busy(client: httpx2.AsyncClient) -> int:
    return client._transport.pools.busy  # type: ignore[attr-defined,no-any-return]


def test_requests_at_once_are_at_once_and_use_connections_again() -> None:
    async def run(server: Server, client: httpx2.AsyncClient, url: str) -> None:
        for _ in range(3):
            server.let.clear()
            asks = [asyncio.create_task(client.get(url)) for _ in range(5 * WIDTH)]
            await server.sees(lambda s: s.waiting == 5 * WIDTH)
            assert len(client._transport.pools) == 5  # type: ignore[attr-defined]
            server.let.set()
            assert {(await ask).text for ask in asks} == {"ok"}
        assert server.connections == 5 * WIDTH
        assert busy(client) == 0

    scene(run)


def test_a_request_alone_goes_over_one_connection() -> None:
    async def run(server: Server, client: httpx2.AsyncClient, url: str) -> None:
        server.let.set()
        for _ in range(20):
            assert (await client.get(url)).text == "ok"
        assert server.connections == 1

    scene(run)


def test_after_a_crowd_few_connections_are_kept() -> None:
    async def run(server: Server, client: httpx2.AsyncClient, url: str) -> None:
        asks = [asyncio.create_task(client.get(url)) for _ in range(3 * RESTING * WIDTH)]
        await server.sees(lambda s: s.waiting == len(asks))
        server.let.set()
        await asyncio.gather(*asks)
        await server.sees(lambda s: s.open <= RESTING * WIDTH)
        assert len(client._transport.pools) == RESTING  # type: ignore[attr-defined]

    scene(run)


def test_above_the_most_they_wait() -> None:
    async def run(server: Server, client: httpx2.AsyncClient, url: str) -> None:
        most = 2 * CONNECTIONS
        asks = [asyncio.create_task(client.get(url)) for _ in range(3 * most)]
        await server.sees(lambda s: s.waiting == most)
        server.let.set()
        assert {(await ask).text for ask in asks} == {"ok"}
        assert server.connections == most

    scene(run, most=2 * CONNECTIONS)


@pytest.mark.parametrize("way", ["cancelled", "refused", "not read"])
def test_the_room_is_given_back(way: str) -> None:
    async def run(server: Server, client: httpx2.AsyncClient, url: str) -> None:
        if way == "cancelled":
            ask = asyncio.create_task(client.get(url))
            await server.sees(lambda s: s.waiting == 1)
            ask.cancel()
            await asyncio.gather(ask, return_exceptions=True)
        elif way == "refused":
            with pytest.raises(httpx2.ConnectError):
                await client.get("http://127.0.0.1:1/")
        else:
            server.let.set()
            async with client.stream("GET", url):
                assert busy(client) == 1
        assert busy(client) == 0

    scene(run)
