"""Failed exchanges as our errors: the other side's status, headers and words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from agents.net.quota import is_lasting
from agents.values import shown
from celery_agents.errors import (
    AgentsError,
    ProviderRefusedError,
    ProviderUnavailableError,
    RateLimitedError,
)

# Beside 429 and 5xx: a request that the other side gave up waiting for, one whose idempotency
# key is still in flight, and one that came too early.
_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY})
_OVERLOADED = 529  # Anthropic's
# With a ``Retry-After`` these say that nothing was tried, and when to come again.
_BUSY = frozenset({HTTPStatus.SERVICE_UNAVAILABLE, _OVERLOADED})
# What an error that is told inside a successful answer would have been as a status, by the first
# of these words in its code, type or status. All else may pass.
# Sources: docs.anthropic.com/en/api/errors, platform.openai.com/docs/guides/error-codes,
# google.rpc.Code.
_STATUS_OF = {
    "rate_limit": 429,
    "quota": 429,
    "too_many": 429,
    "resource_exhausted": 429,
    "overloaded": _OVERLOADED,
    "timeout": 504,
    "deadline_exceeded": 504,
    "unavailable": 503,
    "billing": 402,
    "authentication": 401,
    "unauthenticated": 401,
    "api_key": 401,
    "permission": 403,
    "not_found": 404,
    "too_large": 413,
    "invalid": 400,
    "bad_request": 400,
    "badrequest": 400,
    "context_length": 400,
    "content_filter": 400,
    "failed_precondition": 400,
}
_STATUSES = range(400, 600)


def scrub(text: str, secret: str | None) -> str:
    """``text`` without the secret, which servers like to quote in their errors."""
    return text.replace(secret, "***") if secret else text


class FailedError(Exception):
    """The other side reported an error: as a status, or inside a successful answer.

    ``body`` is JSON or text; without a ``status`` its words say which one it would have been.
    """

    def __init__(
        self, body: Any, *, status: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self.body = body
        self.status = status
        self.headers = headers or {}


def told_error(who: str, failed: FailedError, secret: str | None) -> AgentsError:
    """Make the error for what the other side reported, its words without the secret."""
    status, body = failed.status, failed.body
    wait = retry_after_s(failed.headers)
    wait = _retry_info_s(body) if wait is None else wait
    text = scrub(message_in(body), secret)
    lasting = is_lasting(body, wait_told=wait is not None)
    if status is None:
        who = f"Inside a successful answer {who}"
        status = _status_told(body)
    return status_error(who, status, text, retry_after_s=wait, lasting=lasting)


def status_error(
    who: str, status: int, text: str, *, retry_after_s: float | None = None, lasting: bool = False
) -> AgentsError:
    """The error for an HTTP status that is not a success.

    429 is rate limiting, unless its cause is ``lasting``, and so is a 503 or 529 that says when to
    come again; 408, 409, 425 and every other 5xx may pass; all else is a refusal that would come
    again. ``retry_after_s`` is kept in the details.
    """
    message = f"{who} answered HTTP {status}: {shown(text, 400)}"
    limited = status == HTTPStatus.TOO_MANY_REQUESTS
    if limited and lasting:
        message += " The quota of its account is used up, so it is not asked again."
        return ProviderRefusedError(message, {"status": status})
    if limited or (status in _BUSY and retry_after_s is not None):
        kind: type[AgentsError] = RateLimitedError
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING:
        kind = ProviderUnavailableError
    else:
        return ProviderRefusedError(message, {"status": status})
    details: dict[str, Any] = {"status": status}
    if retry_after_s is not None:
        details["retry_after_s"] = retry_after_s
    return kind(message, details)


def retry_after_s(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """Seconds asked for by ``Retry-After`` (RFC 9110 §10.2.3: seconds or a date), if any.

    OpenAI's and Anthropic's ``retry-after-ms`` is finer and goes first.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) / unit
        except ValueError:
            seconds = _seconds_until(value, now or datetime.now(UTC))
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


def _seconds_until(date: str, now: datetime) -> float:
    try:
        when = parsedate_to_datetime(date)
    except ValueError:
        return math.nan
    # RFC 5322's "-0000" parses as naive; HTTP dates are always UTC.
    return ((when if when.tzinfo else when.replace(tzinfo=UTC)) - now).total_seconds()


def _retry_info_s(body: Any) -> float | None:
    """Seconds of google.rpc.RetryInfo, Google's own form of Retry-After, in an error's body."""
    error = _error_in(body)
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str):
            return retry_after_s({"retry-after": delay.removesuffix("s")})
    return None


def _status_told(body: Any) -> int:
    """Return the status that an error without one stands for."""
    error = _error_in(body)
    if not isinstance(error, dict):
        return HTTPStatus.INTERNAL_SERVER_ERROR
    told = [error.get(name) for name in ("status", "code", "type")]
    for value in told:
        number = int(value) if isinstance(value, str) and value.isdecimal() else value
        if isinstance(number, int) and number in _STATUSES:
            return number
    words = re.sub(r"[^a-z]+", "_", " ".join(str(value) for value in told if value).lower())
    return next((s for word, s in _STATUS_OF.items() if word in words), 500)


def _error_in(body: Any) -> Any:
    """The error of a body, which may stand in a list, under its name, or alone."""
    if isinstance(body, list) and body:
        body = body[0]
    return body.get("error", body) if isinstance(body, dict) else body


def message_in(body: Any) -> str:
    """The human-readable part of an error's JSON body, as providers write it."""
    error = _error_in(body)
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return str(error["message"])
    return "" if error is None else str(error)
