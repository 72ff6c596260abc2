"""A way to a server that takes its time: what is sent, and what is answered, arrives later."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Self

from deploy.local.servers import LOOPBACK


class SlowRoute:
    """Carries connections to a port of this machine, each piece ``delay_s`` late. A context."""

    def __init__(self, to: int, delay_s: float) -> None:
        self._to = to
        self.delay_s = delay_s
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        #: Pieces that were carried.
        self.carried = 0
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        made = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._carry, LOOPBACK, 0), self._loop
        )
        self._server = made.result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            self._server.close()
            await asyncio.sleep(0)  # who was let in just now has a task in the next turn only
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                for task in others:
                    task.cancel()
                await asyncio.gather(*others, return_exceptions=True)
                await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(LOOPBACK, self._to)
        with suppress(OSError):
            await asyncio.gather(self._pieces(reader, back), self._pieces(there, writer))

    async def _pieces(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65_536):
                await asyncio.sleep(self.delay_s)
                self.carried += 1
                writer.write(piece)
                await writer.drain()
        finally:
            writer.close()
