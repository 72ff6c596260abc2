"""``/mcp``: streamable HTTP, one message a request; a session of older clients has a stream."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from pydantic_core import from_json
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from api.access import forbidden
from api.mcp.callers import HttpCaller
from api.mcp.listening.sessions import SessionStream
from api.mcp.listening.subscribed import check_open, end
from api.mcp.mounting import McpMount
from api.mcp.sessions import named, session_of
from api.mcp.streaming import STREAM, TELL, SharedStream, is_answer
from api.principals import ReadsAgents
from api.problems import JsonResponse, ProblemError
from api.tasks import problems
from app.access.permissions import Principal

router = APIRouter(tags=["mcp"])
#: The header of a client that comes back: the event that it had last.
LAST = "last-event-id"
#: A message, as its description has it.
_MESSAGE = {
    "type": "object",
    "required": ["jsonrpc", "method"],
    "properties": {
        "jsonrpc": {"const": "2.0"},
        "id": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "method": {"type": "string"},
        "params": {"type": "object"},
    },
}
#: Codes of JSON-RPC.
PARSE_ERROR, INVALID_REQUEST = -32700, -32600


class _HandedOn(Response):
    """A response that the server makes; the body was read here.

    ``session`` is the name of the one that it begins.
    """

    def __init__(self, mount: McpMount, body: bytes, session: str | None = None) -> None:
        super().__init__()
        self._mount, self._body, self._session = mount, body, session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        told = False

        async def again() -> Message:
            nonlocal told
            if told:
                return await receive()
            told = True
            return {"type": "http.request", "body": self._body, "more_body": False}

        stream = SharedStream(send, self._session)
        ways = {TELL: stream.tell, STREAM: stream}
        # Blanks around a value are none of it (RFC 9110); not all parsers take them away.
        headers = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        await self._mount({**scope, "headers": headers, **ways}, again, stream.send)


@router.post(
    "/mcp",
    response_class=Response,
    responses={
        200: {"content": {"application/json": {}, "text/event-stream": {}}},
        202: {"description": "A notification was taken."},
        **problems(400, 404, 406, 415, 501),
        400: {"description": "The body is no message.", "content": {"application/json": {}}},
    },
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": _MESSAGE}}}
    },
)
async def message(request: Request, who: ReadsAgents) -> Response:
    """A message of the Model Context Protocol: agents and panels are tools, runs are tasks.

    What a message does needs its own permission: a call ``runs:create``, a run that is read
    ``runs:read``, one that is cancelled ``runs:cancel``.
    """
    check_origin(request)
    body = await request.body()
    if (wrong := mistake_of(body)) is not None:
        return wrong
    told = from_json(body, allow_inf_nan=False)
    mount: McpMount = request.app.state.mcp
    await mount.ready()
    if (session := session_of(request.headers)) is not None:
        await check_open(HttpCaller(request).services, who, session)
    if is_answer(told):
        return await _taken(request, told)
    return _HandedOn(mount, body, named(told))


@router.get(
    "/mcp",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}}, **problems(405, 501)},
)
async def stream(request: Request, who: ReadsAgents) -> Response:
    """The stream of a session: its client is told what changes of lists and resources.

    With ``Last-Event-ID`` it is that of a call, which goes on where another one was cut.

    Versions that have no sessions ask for a stream by a message, ``subscriptions/listen``.
    """
    check_origin(request)
    session = await _session(request, who)
    mount: McpMount = request.app.state.mcp
    await mount.ready()
    if (told := request.headers.get(LAST)) is not None:
        from api.mcp.listening.resuming import ResumedCall

        return ResumedCall(request, mount.agents.held, told, mount.current().stream_s)
    return SessionStream(request, mount.agents.listening, session)


@router.delete("/mcp", status_code=204, response_class=Response, responses=problems(404, 405))
async def end_session(request: Request, who: ReadsAgents) -> None:
    """End a session: its stream ends, and what comes with it is refused (404)."""
    check_origin(request)
    session = await _session(request, who)
    await end(HttpCaller(request).services, who, session)


async def _session(request: Request, who: Principal) -> str:
    """The session of a request.

    Raises:
        ProblemError: it has none (405), or that has ended (404).
    """
    found = session_of(request.headers)
    if found is None:
        text = "Only a session has a stream, and an end."
        raise ProblemError(405, "method_not_allowed", text, {"Allow": "POST"})
    await check_open(HttpCaller(request).services, who, found)
    return found


async def _taken(request: Request, told: dict[str, Any]) -> Response:
    """The response to an answer of a client, to whatever it was asked in another process."""
    from api.mcp.asking import take

    await take(HttpCaller(request), told)
    return Response(status_code=202)


def check_origin(request: Request) -> None:
    """Refuse what a page of another site sent: browsers say from where.

    Raises:
        ProblemError: it is from another one (403).
    """
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise forbidden("No page of another site may ask.")


def mistake_of(body: bytes) -> Response | None:
    """The response to a body that is no message; None: it is one."""
    try:
        told = from_json(body, allow_inf_nan=False)
    except ValueError:
        return _refused(PARSE_ERROR, "The body is no JSON.")
    if isinstance(told, list):
        return _refused(INVALID_REQUEST, "One message a request: batches are not taken.")
    if not _is_message(told):
        return _refused(INVALID_REQUEST, "The body is no message of JSON-RPC 2.0.")
    return None


def _is_message(told: Any) -> bool:
    if not isinstance(told, dict) or told.get("jsonrpc") != "2.0":
        return False
    if "id" in told and (isinstance(told["id"], bool) or not isinstance(told["id"], str | int)):
        return False
    if "method" not in told:
        return "id" in told and ("result" in told or isinstance(told.get("error"), dict))
    return isinstance(told["method"], str) and isinstance(told.get("params", {}), dict)


def _refused(code: int, text: str) -> Response:
    error = {"code": code, "message": text}
    return JsonResponse({"jsonrpc": "2.0", "id": None, "error": error}, 400)
