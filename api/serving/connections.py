"""Connections are bounded: how large a head is, how long it takes, how long nobody reads.

The parser of uvicorn bounds none of that: a head without an end would fill the process's memory,
and connections that say nothing are open for ever. What comes around a body, in chunks, is bounded
as a head is; fields behind it are nobody's headers. Whoever reads nothing of a stream is let go: he
goes on behind its last event.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.problems import ProblemError, response

#: Bytes of a head: what a client with a token and a long address has is a tenth.
HEAD_MAX = 64 * 1024
#: Chunks of a body have so many bytes around each of its own, at the most: one sent byte by byte.
_AROUND = 16
#: Requests that one connection may send ahead of their responses. Of small ones, what is read at
#: once has thousands, and each takes some kilobytes until its turn has come.
AHEAD_MAX = 100
#: Seconds for which somebody may read nothing of what was written for him, or fewer bytes: of what
#: is large a slow line takes longer.
UNREAD_S, _READ_MIN = 120.0, 32 * 1024
#: Seconds in which a head has to be there, from the connection or from its first byte.
HEAD_S = 30.0


class BoundedProtocol(HttpToolsProtocol):
    """A connection with bounds; a mistake in a head is told as all others are."""

    def __init__(self, *args: Any, **about: Any) -> None:
        super().__init__(*args, **about)
        self._in_head = True
        self._bytes = 0  # of the head, or around the body
        self._late: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        #: Requests without a whole response. Uvicorn tells the newest one alone that nobody is
        #: there any more, and a stream before it would go on for ever.
        self._open: list[Any] = []

    def connection_made(self, transport: Any) -> None:
        """Begin; the first head has to come."""
        super().connection_made(transport)
        self._late = self.loop.call_later(HEAD_S, self._refuse_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._in_time()
        self._is_read()
        super().connection_lost(exc)
        for cycle in self._open:
            if not cycle.response_complete:
                cycle.disconnected = True
            cycle.message_event.set()

    def pause_writing(self) -> None:
        """Wait for who reads."""
        super().pause_writing()
        if self._unread is None:
            self._wait_for_reader()

    def resume_writing(self) -> None:
        """Go on: something was read."""
        self._is_read()
        super().resume_writing()

    def on_message_begin(self) -> None:
        """Begin a head.

        Raises:
            BufferError: too many wait for their turn; the parser ends with it.
        """
        if len(self.pipeline) >= AHEAD_MAX:
            raise BufferError
        self._in_head, self._bytes = True, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End a head, and serve its request."""
        self._in_head = False
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self._open = [c for c in self._open if not c.response_complete] + [self.cycle]

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._bytes = max(self._bytes - _AROUND * len(body), 0)
        super().on_body(body)

    def data_received(self, data: bytes) -> None:
        """Read what has come."""
        self._bytes += len(data)
        super().data_received(data)
        if self._bytes > HEAD_MAX:
            text = f"The head of the request is larger than {HEAD_MAX:,} bytes."
            self._refuse(ProblemError(431, "head_too_large", text))
        elif not self._in_head:
            self._in_time()
        elif self._late is None:
            self._late = self.loop.call_later(HEAD_S, self._refuse_late)

    def send_400_response(self, msg: str) -> None:
        """Say that it is no request."""
        self._refuse(ProblemError(400, "bad_request", msg))

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _wait_for_reader(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(UNREAD_S, self._check_reader, left)

    def _check_reader(self, before: int) -> None:
        if before - self.transport.get_write_buffer_size() < _READ_MIN:
            self.transport.abort()
        else:
            self._wait_for_reader()

    def _refuse_late(self) -> None:
        text = f"The head of the request was not there within {HEAD_S:g} s."
        self._refuse(ProblemError(408, "too_slow", text))

    def _refuse(self, error: ProblemError) -> None:
        """Say why, unless a response is under way, and close the connection."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            told = response(error)
            status = HTTPStatus(error.status)
            lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
            lines += [name + b": " + value for name, value in told.raw_headers]
            head = b"\r\n".join([*lines, b"connection: close", b"", b""])
            self.transport.write(head + bytes(told.body))
        self.transport.close()
