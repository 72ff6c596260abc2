"""Calls of 2025-11-25 whose stream was lost, or ended by the server: their clients come back.

The first event of a call's stream has an id, by which any process goes on: it names the run, and is
sealed for the principal and the request alone. The run itself goes on without anybody.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from types import SimpleNamespace
from typing import Any

from fastapi import Request
from mcp import types
from mcp.shared.exceptions import MCPError
from pydantic_core import from_json
from redis.exceptions import RedisError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.events import SSE_HEADERS
from api.mcp import failures
from api.mcp.answers import result_of
from api.mcp.asking import Questions
from api.mcp.callers import Caller, HttpCaller
from api.mcp.holding import HELD_S, HeldCalls, end_of
from api.mcp.journaled import task_of
from api.mcp.sealing.states import is_sealed, with_seal
from api.mcp.states import CORE
from api.mcp.streaming import TELL, SharedStream
from api.problems import ProblemError, of_agents
from app.concurrency.cancelling import let_go
from celery_agents.errors import AgentsError, BrokerUnavailableError, JournalUnavailableError
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: Milliseconds until a client comes back.
_AGAIN_MS = 500
#: Characters of an id that is told: headers have bounds.
_ID_MAX = 1_000
_MEDIA = ((b"content-type", b"text/event-stream"),)


async def event_id(caller: Caller, run_id: str, request_id: Any) -> str | None:
    """The id by which the call of a request goes on; None: the request's own is too long."""
    told = json.dumps([run_id, request_id]).encode()
    made = await with_seal(caller, base64.urlsafe_b64encode(told).decode())
    return made if len(made) <= _ID_MAX else None


async def opened_event(caller: Caller, told: str) -> tuple[str, Any]:
    """The run and the id of the request behind the id of an event.

    Raises:
        ProblemError: it is none of ours, or another principal's (404).
    """
    place = await is_sealed(caller, told)
    if place is None:
        raise _nothing()
    try:
        run_id, request_id = from_json(base64.urlsafe_b64decode(place))
    except (ValueError, TypeError):  # what was sealed for something else
        raise _nothing() from None
    return run_id, request_id


def _nothing() -> ProblemError:
    return ProblemError(404, "not_found", "Nothing goes on behind that event.")


def first_event(told: str) -> bytes:
    """The event that begins a stream: an id, when to come back, and no message."""
    return f"id: {told}\nretry: {_AGAIN_MS}\ndata: \n\n".encode()


class ResumedCall(Response):
    """A response that goes on with a call; ``most_s``: the client is sent away again after that."""

    def __init__(
        self, request: Request, held: HeldCalls, told: str, most_s: float | None = None
    ) -> None:
        super().__init__()
        self._caller, self._held, self._told = HttpCaller(request), held, told
        self._most_s = HELD_S if most_s is None else most_s

    async def __call__(
        self,
        scope: Scope,  # noqa: ARG002 - ASGI has it
        receive: Receive,
        send: Send,
    ) -> None:
        """Hold the call.

        Raises:
            ProblemError: there is none, or this one is one too many.
        """
        run_id, request_id = await opened_event(self._caller, self._told)
        try:
            tree = await task_of(self._caller, run_id)
        except MCPError:  # it is not kept any more
            raise _nothing() from None
        stream = SharedStream(send)
        with self._held.place(self._caller.who.id):
            sse = [(name.lower().encode(), value.encode()) for name, value in SSE_HEADERS.items()]
            headers = [*_MEDIA, *sse]
            await stream.send({"type": "http.response.start", "status": 200, "headers": headers})
            await stream.write(first_event(self._told))
            work = asyncio.ensure_future(self._end(stream, run_id, tree.get("task") or ""))
            gone = asyncio.ensure_future(_until_gone(receive))
            try:
                await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
                if work.done() and (told := work.result()) is not None:
                    await stream.tell({"jsonrpc": "2.0", "id": request_id, **told})
                await stream.close()
            finally:
                await let_go(work)
                await let_go(gone)

    async def _end(self, stream: SharedStream, run_id: str, task: str) -> dict[str, Any] | None:
        """The result of the call, or its error; None: its client comes again."""

        async def ping(_: float) -> None:
            await stream.write(b": ping\n\n")

        request = SimpleNamespace(scope={TELL: stream.tell})
        ctx = SimpleNamespace(protocol_version=CORE, request=request)
        questions = Questions(ctx, self._caller, run_id)
        about: dict[str, Any] = {"most_s": self._most_s, "asks": questions.look, "resumable": True}
        try:
            outcome = await end_of(self._caller, run_id, look=True, tell=ping, **about)
        except (BrokerUnavailableError, JournalUnavailableError, RedisError, OSError) as error:
            note(log, "mcp_resumed", "A call is not followed: its client comes back", error=error)
            return None
        except (AgentsError, ProblemError) as error:
            problem = error if isinstance(error, ProblemError) else of_agents(error)
            return {"error": failures.refused(problem).error.model_dump(exclude_none=True)}
        finally:
            questions.close()
        return None if outcome is None else {"result": _dumped(result_of(run_id, task, outcome))}


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _dumped(made: types.CallToolResult) -> dict[str, Any]:
    return made.model_dump(by_alias=True, mode="json", exclude_none=True)
