"""What a failed HTTP exchange means: the status and headers of the other side as our errors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from agents.backends.values import shown
from celery_agents.errors import (
    AgentsError,
    ProviderRefusedError,
    ProviderUnavailableError,
    RateLimitedError,
)

# Beside 429 and 5xx: a request that the other side gave up waiting for, one whose idempotency
# key is still in flight, and one that came too early.
_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY})


def scrub(text: str, secret: str | None) -> str:
    """``text`` without the secret, which servers like to quote in their errors."""
    return text.replace(secret, "***") if secret else text


def status_error(
    who: str, status: int, text: str, *, retry_after_s: float | None = None
) -> AgentsError:
    """The error for an HTTP status that is not a success.

    429 is rate limiting; 408, 409, 425 and every 5xx (529 "overloaded" too) may pass; all else
    is a refusal that would come again. ``retry_after_s`` is kept in the details.
    """
    message = f"{who} answered HTTP {status}: {shown(text, 400)}"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
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


def message_in(body: Any) -> str:
    """The human-readable part of an error's JSON body, as providers write it."""
    if isinstance(body, list) and body:
        body = body[0]
    if isinstance(body, dict):
        error = body.get("error", body)
        if isinstance(error, dict) and isinstance(error.get("message"), str):
            return str(error["message"])
        return str(error)
    return "" if body is None else str(body)
