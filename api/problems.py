"""Errors as RFC 9457 has them: ``application/problem+json``, with the kind of our errors."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from celery_agents.contracts.base import why
from celery_agents.errors import AgentsError, BrokerUnavailableError, redact
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: Statuses of errors by their kinds; others of a request are 422.
STATUSES = {
    "payload_too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "broker": HTTPStatus.SERVICE_UNAVAILABLE,
    "journal": HTTPStatus.SERVICE_UNAVAILABLE,
    "result_timeout": HTTPStatus.SERVICE_UNAVAILABLE,
    "forbidden": HTTPStatus.FORBIDDEN,
    "configuration": HTTPStatus.INTERNAL_SERVER_ERROR,
}
#: Seconds after which somebody who was not served may come again.
RETRY_AFTER_S = 2
_WORD = re.compile(r"[\w-]{1,60}", re.ASCII)
#: Mistakes of a body that are told.
_TOLD = 5


class Problem(BaseModel):
    """An error."""

    type: str
    title: str
    status: int
    #: In words; it never holds what was sent.
    detail: str
    #: The word by which programs know it.
    kind: str


class JsonResponse(Response):
    """JSON of any text: halves of surrogate pairs, which an agent may answer, are escaped."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The bytes."""
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


class ProblemError(Exception):
    """A request is refused, and why."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        *,
        param: str | None = None,
    ) -> None:
        super().__init__(detail)
        # What was asked for is named in some, and may have a key in the place of an id.
        self.status, self.kind, self.detail = int(status), kind, redact(detail)
        self.headers = dict(headers or {})
        self.param = param  # the part of the request that is wrong


class RefusedBodyError(HTTPException):
    """A body is refused while it is read: FastAPI hands on no other errors of that."""

    def __init__(self, problem: ProblemError) -> None:
        super().__init__(problem.status, problem.detail)
        self.problem = problem


def not_found(what: str) -> ProblemError:
    """Return the error of something that is not there, or that is somebody else's."""
    return ProblemError(HTTPStatus.NOT_FOUND, "not_found", f"There is no {what}.")


def busy(detail: str, kind: str = "busy", after_s: float = RETRY_AFTER_S) -> ProblemError:
    """Return the error of a request that may come again."""
    headers = {"Retry-After": str(max(math.ceil(after_s), 1))}
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, kind, detail, headers)


def response(error: ProblemError) -> Response:
    """The response to a request that is refused."""
    told = {
        "type": f"urn:celery-agents:error:{error.kind}",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.detail,
        "kind": error.kind,
    }
    made = JsonResponse(told, error.status, headers=error.headers)
    made.headers["content-type"] = "application/problem+json"
    return made


def of_agents(error: AgentsError) -> ProblemError:
    """One of our errors as a problem."""
    status = STATUSES.get(error.kind, HTTPStatus.UNPROCESSABLE_ENTITY)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return busy(error.message, error.kind)
    return ProblemError(status, error.kind, error.message)


def _of_body(error: RequestValidationError) -> ProblemError:
    """Mistakes by place and reason, without what was sent: secrets may stand there."""
    found = error.errors()
    if any(e["type"] == "json_invalid" for e in found):
        return ProblemError(HTTPStatus.BAD_REQUEST, "invalid_json", "The body is no JSON.")
    told = [f"{'.'.join(map(_part, e['loc']))}: {why(e)}" for e in found]
    more = f" (and {len(told) - _TOLD} more)" if len(told) > _TOLD else ""
    detail = "; ".join(told[:_TOLD]) + more
    place = ".".join(map(str, found[0]["loc"])).removeprefix("body.")
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_payload", detail, param=place)


def _part(part: int | str) -> str:
    """A part of a place; a field's name that somebody has made up is no word to be repeated."""
    return str(part) if isinstance(part, int) or _WORD.fullmatch(part) else "…"


def _of_http(error: HTTPException) -> ProblemError:
    kind = HTTPStatus(error.status_code).name.lower()
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    return ProblemError(error.status_code, kind, str(error.detail), headers)


def install(
    app: FastAPI,
    methods_of: Callable[[str], set[str]],
    told: Callable[[str, ProblemError], Response],
) -> None:
    """Have an app answer all errors as problems.

    ``methods_of`` a path are told with a 405; ``told`` gives an error the form that the readers of
    a path know.
    """

    async def agents(request: Request, error: Any) -> Response:
        return told(request.url.path, of_agents(error))

    async def redis(request: Request, error: Any) -> Response:
        note(log, "api_redis", "A request was refused: Redis does not answer", error=error)
        return told(request.url.path, of_agents(BrokerUnavailableError()))

    async def refused(request: Request, error: Any) -> Response:
        return told(request.url.path, error)

    async def body(request: Request, error: Any) -> Response:
        return told(request.url.path, _of_body(error))

    async def http(request: Request, error: Any) -> Response:
        known = isinstance(error, RefusedBodyError)
        problem = error.problem if known else _of_http(error)
        if problem.status == HTTPStatus.METHOD_NOT_ALLOWED:  # of one route, where several are
            problem.headers["allow"] = ", ".join(sorted(methods_of(request.url.path)))
        return told(request.url.path, problem)

    async def unknown(request: Request, error: Any) -> Response:
        note(log, "api_error", "A request failed", error=error, trace=True)
        text = "Something went wrong here; the server's log says what."
        problem = ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", text)
        return told(request.url.path, problem)

    app.add_exception_handler(AgentsError, agents)
    app.add_exception_handler(RedisError, redis)
    app.add_exception_handler(ProblemError, refused)
    app.add_exception_handler(RequestValidationError, body)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unknown)
