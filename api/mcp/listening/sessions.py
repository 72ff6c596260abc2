"""The stream of an older client's session."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from api.events import SSE_HEADERS, held
from api.mcp.callers import HttpCaller
from api.problems import ProblemError


class SessionStream(Response):
    """A response that tells of changes until the session, or the key, is over."""

    def __init__(self, request: Request, listening: Any, session: str) -> None:
        super().__init__()
        self._request, self._listening, self._session = request, listening, session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell.

        Raises:
            ProblemError: it is one stream too many (429).
        """
        caller = HttpCaller(self._request)
        with self._listening.streams.place(caller.who.id):
            lines = self._listening.told(caller, self._session)
            told = held(self._request, caller.services, caller.who, lines, _last)
            made = StreamingResponse(told, media_type="text/event-stream", headers=SSE_HEADERS)
            await made(scope, receive, send)


def _last(_: ProblemError) -> str:
    return ": the key or token of this stream holds no longer\n\n"
