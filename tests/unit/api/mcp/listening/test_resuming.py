"""Calls go on by the events that their streams began with."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.exceptions import MCPError

from api.mcp.holding import HeldCalls
from api.mcp.listening import resuming
from api.mcp.listening.resuming import ResumedCall, event_id, first_event, opened_event
from api.mcp.sealing.states import with_seal
from api.mcp.streaming import SharedStream
from api.problems import ProblemError
from celery_agents.errors import JournalUnavailableError, UnreadableValueError
from tests.support.seals import KeptMemos, shared_secrets

JOURNAL = KeptMemos()


def caller(who: str = "one") -> Any:
    services = SimpleNamespace(seals=shared_secrets(JOURNAL))
    return SimpleNamespace(services=services, who=SimpleNamespace(id=who))


@given(st.one_of(st.integers(), st.text(max_size=60)))
def test_an_event_names_its_run_to_its_principal_alone(request_id: Any) -> None:
    told = asyncio.run(event_id(caller(), "the run", request_id))
    assert told is not None
    assert first_event(told).decode().splitlines()[0] == f"id: {told}"
    assert asyncio.run(opened_event(caller(), told)) == ("the run", request_id)
    for who, given_back in (("another", told), ("one", f"{told}x"), ("one", told[1:])):
        with pytest.raises(ProblemError) as none:
            asyncio.run(opened_event(caller(who), given_back))
        assert none.value.status == 404


def test_an_id_that_fits_in_no_header_is_not_told() -> None:
    assert asyncio.run(event_id(caller(), "the run", "x" * 2_000)) is None


@given(st.text())
def test_a_text_is_no_event(told: str) -> None:
    with pytest.raises(ProblemError):
        asyncio.run(opened_event(caller(), told))


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


@pytest.mark.parametrize("place", ["celery-agents/ask/run/key", "MQ==", "bnVsbA==", "W10=", "x"])
def test_what_was_sealed_for_something_else_is_no_event(place: str) -> None:
    with pytest.raises(ProblemError) as none:
        asyncio.run(opened_event(caller(), asyncio.run(with_seal(caller(), place))))
    assert none.value.status == 404


def resumed(monkeypatch: pytest.MonkeyPatch, task_of: Any, end_of: Any) -> list[Any]:
    """The parts of a response that goes on with a call."""
    monkeypatch.setattr(resuming, "task_of", task_of)
    monkeypatch.setattr(resuming, "end_of", end_of)
    one = caller()
    state = SimpleNamespace(services=one.services)
    request: Any = SimpleNamespace(
        app=SimpleNamespace(state=state), state=SimpleNamespace(who=one.who)
    )
    told = asyncio.run(event_id(one, "the run", 1))
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    assert told is not None
    asyncio.run(ResumedCall(request, HeldCalls(), told)({}, receive, send))
    return sent


async def kept(*_: Any) -> Any:
    return {"task": "agents.ask"}


def test_a_run_that_is_kept_no_more_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(*_: Any) -> None:
        raise MCPError(-32602, "There is no such task.")

    with pytest.raises(ProblemError) as refused:
        resumed(monkeypatch, none, None)
    assert refused.value.status == 404


def test_while_the_journal_is_away_the_client_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream ends as one that was held for long does, with no answer; else with the error."""

    async def away(*_: Any, **__: Any) -> None:
        raise JournalUnavailableError("away")

    async def unreadable(*_: Any, **__: Any) -> None:
        raise UnreadableValueError("its key is missing")

    start, first, end = resumed(monkeypatch, kept, away)
    assert start["status"] == 200
    assert first["body"].startswith(b"id: ")
    assert end == {"type": "http.response.body", "body": b"", "more_body": False}
    _, _, error, end = resumed(monkeypatch, kept, unreadable)
    assert b"its key is missing" in error["body"]
    assert not end["more_body"]
