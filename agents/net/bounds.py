"""Limits of answers over HTTP: they are decoded in pieces, and none is read without an end."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from celery_agents.errors import BadAnswerError

#: What is asked for: decoding it can be bounded.
ENCODINGS = "gzip, deflate"
#: Bytes of one decoded piece: some 60 bytes of a bomb make as many.
PIECE = 64 * 1024
#: Of an error's body; its start tells enough.
ERROR_BYTES = 64 * 1024
_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def bounded(httpx2: Any) -> Callable[[Any], Awaitable[None]]:
    """A hook that has a response decoded by us, and its body end early where it is an error.

    Whoever reads a good answer counts its bytes as they come (:func:`at_most`).
    """

    class Body(httpx2.AsyncByteStream):
        def __init__(self, inner: Any, pieces: AsyncIterator[bytes]) -> None:
            self._inner = inner
            self._pieces = pieces

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self._pieces

        async def aclose(self) -> None:
            await self._inner.aclose()

    async def hook(response: Any) -> None:
        pieces = aiter(response.stream)
        coding = response.headers.pop("content-encoding", "").strip().lower()
        if coding not in {"", "identity"}:
            pieces = decoded(pieces, coding)
        if not response.is_success:
            pieces = _head(pieces, ERROR_BYTES)
        response.stream = Body(response.stream, pieces)

    return hook


async def at_most(content: AsyncIterator[bytes], limit: int, who: str) -> AsyncIterator[bytes]:
    """Pass the bytes on, up to a limit.

    Raises:
        BadAnswerError: there are more of them than that.
    """
    read = 0
    async for piece in content:
        read += len(piece)
        if read > limit:
            raise BadAnswerError(f"{who} answered with more than {limit} bytes.")
        yield piece


async def decoded(pieces: AsyncIterator[bytes], coding: str) -> AsyncIterator[bytes]:
    """The bytes of a body, in pieces of a size that a bomb does not change."""
    if coding not in _BITS:
        raise BadAnswerError(
            f"An answer came in the encoding {coding[:40]!r}; {ENCODINGS} are read."
        )
    decoder = zlib.decompressobj(_BITS[coding])
    try:
        async for piece in pieces:
            rest = piece
            while rest and not decoder.eof:
                if out := decoder.decompress(rest, PIECE):
                    yield out
                rest = decoder.unconsumed_tail
        while out := decoder.decompress(decoder.unconsumed_tail, PIECE):
            yield out
    except zlib.error as error:
        raise BadAnswerError(f"An answer could not be decoded: {error}") from None


async def _head(pieces: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    left = limit
    async for piece in pieces:
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return
