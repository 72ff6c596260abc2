from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.backends.faults import message_in, retry_after_s, scrub, status_error
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
        (503, ProviderUnavailableError),
        (504, ProviderUnavailableError),
        (529, ProviderUnavailableError),
    ],
)
def test_status(status: int, error: type[AgentsError]) -> None:
    raised = status_error("openai/m", status, "why", retry_after_s=2.0)
    assert type(raised) is error
    assert raised.message == f"openai/m answered HTTP {status}: 'why'"
    assert raised.details["status"] == status
    assert raised.details.get("retry_after_s") == (2.0 if raised.retryable else None)


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
