"""Calls go on by the events that their streams began with."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from api.mcp.listening.resuming import event_id, first_event, opened_event
from api.mcp.streaming import SharedStream
from api.problems import ProblemError

SETTINGS = SimpleNamespace(
    fernet_secrets=[], redis_url=SecretStr("redis://a"), database_url=SecretStr("sqlite://")
)


def caller(who: str = "one") -> Any:
    return SimpleNamespace(services=SimpleNamespace(settings=SETTINGS), who=SimpleNamespace(id=who))


@given(st.one_of(st.integers(), st.text(max_size=60)))
def test_an_event_names_its_run_to_its_principal_alone(request_id: Any) -> None:
    told = event_id(caller(), "the run", request_id)
    assert told is not None
    assert first_event(told).decode().splitlines()[0] == f"id: {told}"
    assert opened_event(caller(), told) == ("the run", request_id)
    for who, given_back in (("another", told), ("one", f"{told}x"), ("one", told[1:])):
        with pytest.raises(ProblemError) as none:
            opened_event(caller(who), given_back)
        assert none.value.status == 404


def test_an_id_that_fits_in_no_header_is_not_told() -> None:
    assert event_id(caller(), "the run", "x" * 2_000) is None


@given(st.text())
def test_a_text_is_no_event(told: str) -> None:
    with pytest.raises(ProblemError):
        opened_event(caller(), told)


def test_an_event_stands_first_and_nothing_after_the_end() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body"))

    async def scene() -> None:
        stream = SharedStream(send)
        await stream.begin_with(b"first")
        headers = [(b"content-type", b"text/event-stream")]
        await stream.send({"type": "http.response.start", "status": 200, "headers": headers})
        await stream.tell({"a": 1})
        await stream.close()
        await stream.tell({"a": 2})
        await stream.send({"type": "http.response.body", "body": b"late", "more_body": False})

    asyncio.run(scene())
    assert sent[:2] == [None, b"first"]
    assert b'"a": 1' in sent[2]
    assert sent[3:] == [b""]
