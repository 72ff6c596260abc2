"""An answer's bytes, through a reading, without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from agents.models.provider import Completion, Reading
from agents.models.reading.bodies import bodies

Read = Callable[..., Completion]


def sse(*values: Any, done: bool = False) -> bytes:
    """A stream of server-sent events."""
    events = [f"data: {json.dumps(value)}\n\n" for value in values]
    return "".join([*events, *(["data: [DONE]\n\n"] if done else [])]).encode()


def whole(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.fixture
def read() -> Read:
    """Reads the bytes of an answer, in pieces of ``size``; ``told`` gets the texts as they come."""

    def read(
        reading: Reading, content: bytes, *, size: int = 7, told: list[str] | None = None
    ) -> Completion:
        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(content), size):
                yield content[start : start + size]

        async def scene() -> Completion:
            async for body in bodies(pieces(), who="it"):
                text = reading.add(body)
                if told is not None:
                    told.append(text)
            return reading.completion()

        return asyncio.run(scene())

    return read
