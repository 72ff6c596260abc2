"""Streams of responses to which a handler writes, beside the SDK: requests to older clients."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.types import Message, Send

from api.mcp.sessions import HEADER

#: Before the id of a request to an older client; its answer has the same.
ASKED = "celery-agents/ask"
#: Of a request's scope: the way to write to the stream of its response, and the stream itself.
TELL, STREAM = "celery_agents.tell", "celery_agents.stream"


class SharedStream:
    """The way to a client, which two write to: whole events, one after the other.

    ``session`` is the name that the response tells of.
    """

    def __init__(self, send: Send, session: str | None = None) -> None:
        self._send, self._session = send, session
        self._lock = asyncio.Lock()
        self._began, self._over = asyncio.Event(), False
        self._first = b""

    async def send(self, message: Message) -> None:
        """Send a part of the response."""
        if message["type"] == "http.response.start" and self._session is not None:
            own = (HEADER.encode(), self._session.encode())
            message = {**message, "headers": [*message.get("headers", ()), own]}
        async with self._lock:
            if self._over:
                return  # it was ended beside whoever goes on to answer
            self._over = _ends(message)
            await self._send(message)
        if message["type"] == "http.response.start" and _streams(message):
            first, self._first = self._first, b""
            self._began.set()
            if first:
                await self.write(first)

    async def begin_with(self, event: bytes) -> None:
        """Have an event stand before all others, as soon as the response is a stream."""
        if self._began.is_set():
            await self.write(event)
        else:
            self._first = event

    async def close(self) -> None:
        """End the response here: what is sent after it is not."""
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def tell(self, told: dict[str, Any]) -> None:
        """Send a message of JSON-RPC, once the response is a stream; after its end, nothing."""
        await self._began.wait()
        await self.write(f"event: message\r\ndata: {json.dumps(told)}\r\n\r\n".encode())

    async def write(self, frame: bytes) -> None:
        """Send an event as it is; after the end of the response, nothing."""
        async with self._lock:
            if not self._over:
                body = {"type": "http.response.body", "body": frame, "more_body": True}
                await self._send(body)


def is_answer(message: Any) -> bool:
    """Return whether a message is an answer to a request of ours."""
    if not isinstance(message, dict) or "method" in message:
        return False
    return str(message.get("id")).startswith(f"{ASKED}/")


def _ends(message: Message) -> bool:
    return message["type"] == "http.response.body" and not message.get("more_body", False)


def _streams(message: Message) -> bool:
    headers = dict(message.get("headers", ()))
    return bytes(headers.get(b"content-type", b"")).startswith(b"text/event-stream")
