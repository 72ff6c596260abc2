"""A model server that takes 200 ms for each answer: ``python -m bench.model_server PORT``.

One asyncio protocol and a timer per request, so that it is not the limit of what is measured.
"""

from __future__ import annotations

import asyncio
import sys

ANSWER_S = 0.2
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_LENGTH = b"content-length:"


class Model(asyncio.Protocol):
    """One connection, kept open: a JSON body is answered with the same body."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer by."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        """Forget the transport: answers to come are dropped."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Take whole requests off the bytes, each to be answered 200 ms later."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            length = int(head.partition(_LENGTH)[2].partition(b"\r\n")[0] or 0)
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            asyncio.get_running_loop().call_later(ANSWER_S, self._answer, body)

    def _answer(self, body: bytes) -> None:
        if self._transport is not None:
            self._transport.write(_HEAD % len(body) + body)


async def serve(port: int) -> None:
    """Serve on loopback until the process ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Model, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
