from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.net.faults import (
    FailedError,
    message_in,
    retry_after_s,
    scrub,
    status_error,
    told_error,
)
from celery_agents.errors import (
    AgentsError,
    ProviderRefusedError,
    ProviderUnavailableError,
    RateLimitedError,
)

NOW = datetime(2025, 10, 21, 7, 28, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (301, ProviderRefusedError),
        (400, ProviderRefusedError),
        (401, ProviderRefusedError),
        (403, ProviderRefusedError),
        (404, ProviderRefusedError),
        (408, ProviderUnavailableError),
        (409, ProviderUnavailableError),
        (422, ProviderRefusedError),
        (425, ProviderUnavailableError),
        (429, RateLimitedError),
        (500, ProviderUnavailableError),
        (502, ProviderUnavailableError),
        (503, RateLimitedError),  # it says when to come again
        (504, ProviderUnavailableError),
        (529, RateLimitedError),
    ],
)
def test_status(status: int, error: type[AgentsError]) -> None:
    raised = status_error("openai/m", status, "why", retry_after_s=2.0)
    assert type(raised) is error
    assert raised.message == f"openai/m answered HTTP {status}: 'why'"
    assert raised.details["status"] == status
    assert raised.details.get("retry_after_s") == (2.0 if raised.retryable else None)


@pytest.mark.parametrize("status", [503, 529])
def test_who_does_not_say_when_to_come_again_is_down(status: int) -> None:
    assert type(status_error("x", status, "why")) is ProviderUnavailableError


def test_a_lasting_refusal_is_told_in_its_words() -> None:
    raised = status_error("openai/m", 429, "no credit", retry_after_s=9, lasting=True)
    assert type(raised) is ProviderRefusedError
    assert "no credit" in raised.message
    assert "used up" in raised.message


INSIDE = {
    "code as a number": ({"code": 429, "message": "m"}, RateLimitedError),
    "code as its digits": ({"code": "503", "message": "m"}, ProviderUnavailableError),
    "OpenAI's code": ({"code": "rate_limit_exceeded", "type": "tokens"}, RateLimitedError),
    "OpenAI's type": ({"type": "server_error", "code": None}, ProviderUnavailableError),
    "OpenAI, the mistake is ours": ({"type": "invalid_request_error"}, ProviderRefusedError),
    "too long": ({"code": "context_length_exceeded"}, ProviderRefusedError),
    "no credit": ({"type": "insufficient_quota", "message": "m"}, ProviderRefusedError),
    "Anthropic": ({"type": "overloaded_error", "message": "m"}, ProviderUnavailableError),
    "Anthropic's key": ({"type": "authentication_error"}, ProviderRefusedError),
    "Google": ({"status": "RESOURCE_EXHAUSTED", "message": "m"}, RateLimitedError),
    "Google's HTTP code goes first": ({"code": 400, "status": "UNAVAILABLE"}, ProviderRefusedError),
    "vLLM": ({"object": "error", "type": "BadRequestError", "code": 400}, ProviderRefusedError),
    "a number that is no status": ({"code": 1301, "message": "m"}, ProviderUnavailableError),
    "words alone": ("something went wrong", ProviderUnavailableError),
}


@pytest.mark.parametrize("name", INSIDE)
@pytest.mark.parametrize("wrap", [lambda e: {"error": e}, lambda e: e, lambda e: [{"error": e}]])
def test_an_error_inside_a_successful_answer(name: str, wrap: Any) -> None:
    told, error = INSIDE[name]
    raised = told_error("x/m", FailedError(wrap(told)), None)
    assert type(raised) is error
    assert raised.message.startswith("Inside a successful answer x/m")


@pytest.mark.parametrize(
    ("headers", "delay", "seconds"),
    [
        ({"retry-after": "3"}, None, 3.0),
        ({"retry-after": "3"}, "9s", 3.0),
        ({}, "23.5s", 23.5),
        ({}, "soon", None),
        ({}, 9, None),
    ],
)
def test_google_says_in_the_body_when_to_come_again(
    headers: dict[str, str], delay: Any, seconds: float | None
) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    body = {"error": {"code": 429, "message": "slow", "details": [None, info]}}
    raised = told_error("x/m", FailedError(body, status=429, headers=headers), None)
    assert isinstance(raised, RateLimitedError)
    assert raised.retry_after_s == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": " 12 "}, 12.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "Tue, 21 Oct 2025 07:28:30 GMT"}, 30.0),
        ({"retry-after": "Tue, 21 Oct 2025 07:28:30 -0000"}, 30.0),
        ({"retry-after": "Tue, 21 Oct 2025 07:00:00 GMT"}, 0.0),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, now=NOW) == seconds


@given(st.text())
def test_retry_after_never_fails(text: str) -> None:
    seconds = retry_after_s({"retry-after": text})
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"error": {"message": "no", "type": "t"}}, "no"),
        ({"message": "no"}, "no"),
        ([{"error": {"message": "no"}}], "no"),
        ({"error": "no"}, "no"),
        ("no", "no"),
        (None, ""),
        ([], "[]"),
    ],
)
def test_message_in(body: Any, text: str) -> None:
    assert message_in(body) == text


def test_scrub() -> None:
    assert scrub("key abc is wrong", "abc") == "key *** is wrong"
    assert scrub("text", None) == "text"
