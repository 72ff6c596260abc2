"""Bounds of all requests: how large a body may be, and that no response is kept on the way."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import ProblemError


class _TooLargeError(Exception):
    pass


class BodyBound:
    """Middleware: refuses bodies above ``most_bytes``, however they are sent.

    ``told`` gives the error the form that the readers of a path know.
    """

    def __init__(
        self, app: ASGIApp, most_bytes: int, told: Callable[[str, ProblemError], Response]
    ) -> None:
        self._app, self._most, self._told = app, most_bytes, told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = next((v for k, v in scope["headers"] if k == b"content-length"), b"0")
        if length.isdigit() and int(length) > self._most:
            await self._refuse(scope, receive, send)
            return
        taken, begun = 0, False

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._most:
                raise _TooLargeError
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
        except _TooLargeError:
            if begun:
                raise
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        text = f"The body is larger than {self._most:,} bytes."
        told = self._told(scope["path"], ProblemError(413, "payload_too_large", text))
        await told(scope, receive, send)
