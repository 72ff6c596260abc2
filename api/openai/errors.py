"""Errors in the form that OpenAI's clients read."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from api.problems import JsonResponse, ProblemError
from celery_agents.contracts.outcome import Outcome, State

#: Below it errors have this form.
PREFIX = "/v1/"
_SERVER_ERROR = 500
#: Codes that their clients and people know, by our kinds.
_CODES = {"unauthorized": "invalid_api_key", "rate_limited": "rate_limit_exceeded"}
#: Statuses of runs that ended with an error, by its kind; others are 500.
_ENDED = {
    "invalid_payload": HTTPStatus.BAD_REQUEST,
    "payload_too_large": HTTPStatus.BAD_REQUEST,
    "context_exceeded": HTTPStatus.BAD_REQUEST,
    "blocked": HTTPStatus.BAD_REQUEST,
    "unknown_agent": HTTPStatus.NOT_FOUND,
    "cancelled": HTTPStatus.CONFLICT,
    "no_decision": HTTPStatus.CONFLICT,
    "rate_limited": HTTPStatus.TOO_MANY_REQUESTS,
    "budget_exceeded": HTTPStatus.TOO_MANY_REQUESTS,
    "timeout": HTTPStatus.GATEWAY_TIMEOUT,
}


def told(status: int, code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """An error as the value of ``error``."""
    kind = "invalid_request_error"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        kind = "rate_limit_error"
    elif status >= _SERVER_ERROR:
        kind = "server_error"
    return {"message": message, "type": kind, "param": param, "code": _CODES.get(code, code)}


def response(error: ProblemError) -> Response:
    """The response to a request that is refused; what a body lacks is 400 there."""
    status = error.status
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        status = HTTPStatus.BAD_REQUEST.value
    body = {"error": told(status, error.kind, error.detail, error.param)}
    return JsonResponse(body, status, headers=error.headers)


def unsupported(param: str, why: str) -> ProblemError:
    """Return the error of something that cannot be had here."""
    return ProblemError(HTTPStatus.BAD_REQUEST, "unsupported_parameter", why, param=param)


def wrong(param: str, why: str) -> ProblemError:
    """Return the error of something that is none."""
    text = f"{param}: {why}"
    return ProblemError(HTTPStatus.BAD_REQUEST, "invalid_value", text, param=param)


def failure(outcome: Outcome) -> tuple[str, str]:
    """The code and the message of a run that ended without an answer."""
    if outcome.error is not None:
        return outcome.error.kind, outcome.error.message
    if outcome.state is State.CANCELLED:
        return "cancelled", "The run was cancelled."
    return "agent_failed", "The run ended without an answer."


def ended(run_id: str, outcome: Outcome) -> ProblemError:
    """Return the error of a run that ended without an answer: to ask again brings the same."""
    kind, message = failure(outcome)
    status = _ENDED.get(kind, HTTPStatus.INTERNAL_SERVER_ERROR)
    headers = {"x-should-retry": "false", "x-request-id": run_id}
    return ProblemError(status, kind, message, headers)
