"""Bounds of all requests: how large and how slow a body may be, and that no response is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import ProblemError, RefusedBodyError

#: Seconds in which a body has to be there, once its head is: one is no larger than some megabytes.
BODY_S = 60.0


class BodyBound:
    """Middleware: refuses bodies above ``most_bytes``, however they are sent, and too slow ones.

    ``told`` gives the error the form that the readers of a path know.
    """

    def __init__(
        self,
        app: ASGIApp,
        most_bytes: int,
        told: Callable[[str, ProblemError], Response],
        within_s: float = BODY_S,
    ) -> None:
        self._app, self._most, self._told, self._within_s = app, most_bytes, told, within_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = next((v for k, v in scope["headers"] if k == b"content-length"), b"0")
        if length.isdigit() and int(length) > self._most:
            await self._told(scope["path"], self._too_large())(scope, receive, send)
            return
        taken, whole, begun = 0, False, False
        until = asyncio.get_running_loop().time() + self._within_s

        async def bounded() -> Message:
            nonlocal taken, whole
            if whole:
                return await receive()  # that its sender is gone
            message = await self._received(receive, until)
            taken += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if taken > self._most:
                raise RefusedBodyError(self._too_large())
            return message

        async def private(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                headers.setdefault("cache-control", "no-store")
                headers["x-content-type-options"] = "nosniff"
            await send(message)

        try:
            await self._app(scope, bounded, private)
        except RefusedBodyError as error:
            if begun:
                raise
            await self._told(scope["path"], error.problem)(scope, receive, send)

    async def _received(self, receive: Receive, until: float) -> Message:
        try:
            async with asyncio.timeout_at(until):
                return await receive()
        except TimeoutError:
            text = f"The body was not there within {self._within_s:g} s."
            headers = {"Connection": "close"}  # the rest of it may still come
            raise RefusedBodyError(ProblemError(408, "too_slow", text, headers)) from None

    def _too_large(self) -> ProblemError:
        text = f"The body is larger than {self._most:,} bytes."
        return ProblemError(413, "payload_too_large", text)
