"""Connections of one HTTP client in many small pools, so that finding one does not grow with them.

httpx2's pool goes through all of its connections when a request begins and when it ends, and asks
the system of each idle one whether it is still open: with 200 requests at once that is most of
what a request costs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

#: Requests of one pool at once, while there may be another pool.
WIDTH = 8
#: Connections of one pool: those of other hosts may stay beside the busy ones.
CONNECTIONS = 2 * WIDTH
#: Pools at rest that keep their connections for whoever comes next; the others are closed.
RESTING = 12


class Pool:
    """A transport of httpx2, and how many requests are under way in it."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.busy = 0


class Pools:
    """Pools of one client: a request goes to the first that has room.

    So those behind come to rest when there is less to do. Where all are full and there may be no
    other, it goes to the one that has the fewest, and waits there for a connection.
    """

    def __init__(self, make: Callable[[], Any], most: int) -> None:
        self._make = make
        self._most = most
        self._pools: list[Pool] = []

    def __len__(self) -> int:
        return len(self._pools)

    @property
    def busy(self) -> int:
        """How many requests are under way."""
        return sum(pool.busy for pool in self._pools)

    def enter(self) -> Pool:
        """Give a request its pool."""
        pool = self._with_room()
        pool.busy += 1
        return pool

    async def leave(self, pool: Pool) -> None:
        """Take a request out of its pool, and close those of which there are too many."""
        pool.busy -= 1
        while sum(not one.busy for one in self._pools) > RESTING and not self._pools[-1].busy:
            await self._pools.pop().transport.aclose()

    async def aclose(self) -> None:
        """Close all of them."""
        while self._pools:
            await self._pools.pop().transport.aclose()

    def _with_room(self) -> Pool:
        for pool in self._pools:
            if pool.busy < WIDTH:
                return pool
        if self._pools and (len(self._pools) + 1) * CONNECTIONS > self._most:
            return min(self._pools, key=lambda pool: pool.busy)
        self._pools.append(Pool(self._make()))
        return self._pools[-1]


def pooled(httpx2: Any, most: int, context: Any) -> Any:
    """A transport of httpx2 over small pools, of at most so many connections, by a TLS context."""
    limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)

    class Body(httpx2.AsyncByteStream):
        def __init__(self, inner: Any, pool: Pool, pools: Pools) -> None:
            self._inner = inner
            self._pool: Pool | None = pool
            self._pools = pools

        def __aiter__(self) -> AsyncIterator[bytes]:
            return aiter(self._inner)

        async def aclose(self) -> None:
            pool, self._pool = self._pool, None
            try:
                await self._inner.aclose()
            finally:
                if pool is not None:
                    await self._pools.leave(pool)

    class Pooled(httpx2.AsyncBaseTransport):
        def __init__(self) -> None:
            self.pools = Pools(
                lambda: httpx2.AsyncHTTPTransport(verify=context, limits=limits), most
            )

        async def handle_async_request(self, request: Any) -> Any:
            pool = self.pools.enter()
            try:
                response = await pool.transport.handle_async_request(request)
            except BaseException:
                await self.pools.leave(pool)
                raise
            response.stream = Body(response.stream, pool, self.pools)
            return response

        async def aclose(self) -> None:
            await self.pools.aclose()

    return Pooled()
