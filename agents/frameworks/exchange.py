"""One request of an SDK as a journaled call of a step: made, passed on while it comes, or replayed.

A stream is passed on as it arrives and journaled when it has ended; replayed, it comes at once.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from agents.current import Current
from agents.frameworks.requests import PricedModel, SdkRequest
from agents.models.config import STREAM_BYTES
from agents.net.bounds import at_most
from agents.net.faults import FailedError, told_error
from agents.values import json_or_text
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import Answer, Usage
from celery_agents.errors import AgentsError

T = TypeVar("T")
#: Headers of an answer that SDKs show to their users; all others are of one transmission.
_KEPT = ("content-type", "request-id", "x-request-id")
_KEYS = ("authorization", "x-api-key", "x-goog-api-key", "api-key")
#: What the last bytes of a stream hold when nothing follows, where its SDK reads no further.
_ENDS = (b"[DONE]", b"message_stop", b"response.completed", b"response.incomplete")
_END_BYTES = 16 * 1024


class SdkAnswer(NamedTuple):
    """An answer as SDKs read it."""

    status: int
    headers: dict[str, str]
    content: bytes | LivePieces


class JournaledRequest:
    """One request within a step.

    Args:
        posted: what is asked.
        model: the model that it asks, if it asks one.
        send: sends it under an idempotency key; gives an answer of httpx's whose body is unread.
    """

    def __init__(
        self,
        posted: SdkRequest,
        model: PricedModel | None,
        send: Callable[[str], Coroutine[Any, Any, Any]],
        headers: Any,
    ) -> None:
        self._posted = posted
        self._model = model
        self._send = send
        self._headers = headers
        self._refused: SdkAnswer | None = None
        # Of a stream that is made now: how it begins, and its pieces up to None.
        self._begun: asyncio.Future[SdkAnswer] | None = None
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def answer(self, within: Current) -> SdkAnswer:
        """The answer, of the journal where an earlier attempt has got it.

        Raises:
            AgentsError: the step may not ask.
            Exception: whatever sending raised.
        """
        if not self._posted.streams:
            return await self._whole(self._call(within))
        self._begun = asyncio.get_running_loop().create_future()
        call = asyncio.ensure_future(self._call(within))
        try:
            first: set[asyncio.Future[Any]] = {call, self._begun}
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            call.cancel()
            await asyncio.wait({call})
            raise
        if not self._begun.done():
            return await self._whole(call)
        return self._begun.result()._replace(content=LivePieces(self._pieces, call))

    async def _whole(self, call: Any) -> SdkAnswer:
        try:
            answer = await call
        except AgentsError:
            if self._refused is None:
                raise
            return self._refused  # the SDK raises its own error
        return read(answer.value)

    async def _call(self, within: Current) -> Answer:
        about: dict[str, Any] = {"fingerprint": self._posted.fingerprint}
        if self._model is not None:
            about["expect"] = self._model.expect(self._posted.as_request())
        return await call_within(within, self._posted.name, self._perform, **about)

    async def _perform(self, key: str) -> Answer:
        """Make it now."""
        try:
            response = await self._send(key)
            try:
                content = await self._content(response)
            finally:
                await response.aclose()
        finally:
            self._pieces.put_nowait(None)
        usage = Usage()
        if self._model is not None:
            tokens = await self._posted.tokens(content)
            usage = await self._model.usage(self._posted.as_request(), tokens)
        kept = {name: response.headers[name] for name in _KEPT if name in response.headers}
        return Answer(value=_kept(response.status_code, kept, content), usage=usage)

    async def _content(self, response: Any) -> bytes:
        who = self._posted.name
        headers = {k: v for k, v in response.headers.items() if k.lower() not in _OF_TRANSMISSION}
        if not response.is_success:
            content = await response.aread()
            self._refused = SdkAnswer(response.status_code, headers, content)
            body = json_or_text(content.decode(errors="replace"))
            failed = FailedError(body, status=response.status_code, headers=response.headers)
            raise told_error(who, failed, self._key)
        if self._begun is not None and not self._begun.done():
            self._begun.set_result(SdkAnswer(response.status_code, headers, b""))
        pieces: list[bytes] = []
        async for piece in at_most(response.aiter_bytes(), STREAM_BYTES, who):
            pieces.append(piece)
            if self._begun is not None:
                self._pieces.put_nowait(piece)
        return b"".join(pieces)

    @property
    def _key(self) -> str | None:
        """The secret that the request carries, which servers like to quote."""
        told = next((self._headers[name] for name in _KEYS if name in self._headers), None)
        return None if told is None else told.removeprefix("Bearer ")


class LivePieces:
    """A stream as it comes. At its end the answer is journaled, or the reason why not is raised.

    Who closes it before has asked for no more: the call is ended, and is no answer. Who has seen
    the last event and reads no further, as SDKs do, has it journaled all the same.
    """

    def __init__(self, pieces: asyncio.Queue[bytes | None], call: asyncio.Future[Answer]) -> None:
        self._pieces = pieces
        self._call = call
        self._tail = b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            self._tail = (self._tail + piece)[-_END_BYTES:]
            yield piece
        await asyncio.shield(self._call)  # SDKs wait for the end of a body for so long, and go on

    async def aclose(self) -> None:
        """End the call, or wait until it is over where all of its events have come."""
        if not self._call.done():
            if not any(end in self._tail for end in _ENDS):
                self._call.cancel()
            await asyncio.wait({self._call})


_OF_TRANSMISSION = frozenset({"content-encoding", "content-length", "transfer-encoding"})


def _kept(status: int, headers: dict[str, str], content: bytes) -> JsonValue:
    """An answer as the journal keeps it."""
    told: dict[str, JsonValue] = {"status": status, "headers": {**headers}}
    try:
        return told | {"text": content.decode()}
    except UnicodeDecodeError:
        return told | {"base64": base64.b64encode(content).decode()}


def read(kept: Any) -> SdkAnswer:
    """An answer of the journal."""
    text = kept.get("text")
    content = base64.b64decode(kept["base64"]) if text is None else text.encode()
    return SdkAnswer(kept["status"], kept["headers"], content)


async def call_within(
    within: Current, name: str, perform: Callable[[str], Coroutine[Any, Any, Answer]], **about: Any
) -> Answer:
    """Make a call of a step, whose loop may be another thread's; performed is it on this one."""
    loop, call = asyncio.get_running_loop(), within.step.call
    if loop is within.loop:
        return await call(name, perform, **about)

    async def performed(key: str) -> Answer:
        return await _on(loop, perform(key))

    return await _on(within.loop, call(name, performed, **about))


async def _on(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    """Have something done on another thread's loop."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))
