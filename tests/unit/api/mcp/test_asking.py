"""Questions of tools to their clients: states, sessions and streams."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.types import CONNECTION_CLOSED

from api.mcp import asking
from api.mcp.asking import Questions
from api.mcp.sealing.states import mark
from api.mcp.sessions import asks_of, named, session_of
from api.mcp.states import CORE
from api.mcp.streaming import SharedStream, is_answer
from celery_agents.contracts.approval import ClientRequest
from celery_agents.errors import JournalUnavailableError
from tests.support.seals import shared_secrets

RUN = "01a229d0-9885-7745-af58-a5d787c6d826"


def caller(who: str = "key:a") -> Any:
    services = SimpleNamespace(seals=shared_secrets())
    return SimpleNamespace(who=SimpleNamespace(id=who), services=services)


def wish(key: str, name: str) -> dict[str, Any]:
    request = {"key": name, "method": "elicitation/create", "params": {}}
    return {"key": key, "asks": "client", "request": request}


def test_an_answer_that_is_sent_twice_is_none_to_the_next_question_of_that_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting = [wish("1", "sure"), wish("2", "sure")]
    given: list[tuple[str, Any]] = []

    async def questions(*_: Any) -> list[dict[str, Any]]:
        return list(waiting)

    async def give(_: Any, run_id: str, wish: Any, told: Any) -> None:
        assert run_id == RUN
        given.append((wish["key"], told))
        waiting.remove(wish)

    monkeypatch.setattr(asking, "questions", questions)
    monkeypatch.setattr(asking, "give", give)
    marks = frozenset({mark("sure", "1"), mark("2", "2")})
    answers = {"sure": "first", "2": "second"}
    asyncio.run(asking.answer(caller(), RUN, marks, {"sure": "first"}))
    assert given == [("1", "first")]
    waiting.append(wish("3", "sure"))
    for _ in range(2):
        asyncio.run(asking.answer(caller(), RUN, marks, answers))
    assert given == [("1", "first"), ("2", "second")]
    assert [one["key"] for one in waiting] == ["3"]


class Pipe:
    """A client at the other end of a pipe; ``said``: what it answers each time."""

    def __init__(self, *said: Any) -> None:
        self.said = list(said)
        self.session = self._request_outbound = self
        self.request, self.protocol_version = None, CORE

    async def send_raw_request(self, _: str, __: Any) -> Any:
        told = self.said.pop(0)
        if isinstance(told, Exception):
            raise told
        return told


def ask(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The answers that are settled by three looks."""
    settled: list[Any] = []

    async def questions(*_: Any) -> list[dict[str, Any]]:
        return [wish("1", "sure")]

    async def settle(_: Any, __: str, ___: Any, told: Any) -> None:
        if told == "none":
            raise MCPError(-32602, "It is no answer.")
        settled.append(told)

    async def scene() -> None:
        monkeypatch.setattr(asking, "questions", questions)
        monkeypatch.setattr(asking, "settle", settle)
        asks = Questions(pipe, caller(), RUN)
        for _ in range(3):
            await asks.look()
            await asyncio.gather(*asks._tasks)

    asyncio.run(scene())
    return settled


def test_a_client_that_has_gone_has_refused_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(Pipe(MCPError(CONNECTION_CLOSED, "Connection closed")), monkeypatch) == []
    assert ask(Pipe(NoBackChannelError("roots/list")), monkeypatch) == []
    assert ask(Pipe(MCPError(-1, "No.")), monkeypatch) == [None]


def test_a_journal_that_is_away_ends_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any) -> None:
        raise JournalUnavailableError("away")

    monkeypatch.setattr(asking, "questions", away)
    assert asyncio.run(Questions(Pipe(), caller(), RUN).look()) is False


def test_whose_answer_is_none_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(Pipe("none", "yes"), monkeypatch) == ["yes"]


def test_a_session_says_what_its_client_can_be_asked() -> None:
    told = {"method": "initialize", "params": {"capabilities": {"roots": {}, "sampling": {}}}}
    name = named(told)
    assert name is not None
    assert asks_of(session_of({"mcp-session-id": name})) == ("sampling", "roots")
    assert named(told) != name
    odd: list[Any] = [None, [], {"method": "ping"}]
    assert [named(one) for one in odd] == [None] * 3
    nothing = named({"method": "initialize", "params": {"capabilities": 1}})
    assert asks_of(nothing) == ()


@given(st.text())
def test_a_name_that_is_none_of_ours_says_nothing(told: str) -> None:
    assert asks_of(session_of({"mcp-session-id": told})) == ()


@given(st.none() | st.booleans() | st.text() | st.dictionaries(st.text(), st.text()))
def test_what_is_no_answer_is_told(told: Any) -> None:
    for method in ("elicitation/create", "sampling/createMessage", "roots/list"):
        assert ClientRequest.of("a", method, {}).problem(told)


@pytest.mark.parametrize(
    ("message", "ours"),
    [
        ({"id": "celery-agents/ask/a/b/c", "result": {}}, True),
        ({"id": "celery-agents/ask/a/b/c", "method": "x"}, False),
        ({"id": 1, "result": {}}, False),
        ({"result": {}}, False),
        ([], False),
    ],
)
def test_answers_are_known_by_their_ids(message: Any, ours: bool) -> None:
    assert is_answer(message) is ours


def test_a_question_stands_between_events_of_a_stream_and_never_after_its_end() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def scene() -> None:
        stream = SharedStream(send, "e-0")
        asking = asyncio.create_task(stream.tell({"id": 1}))
        await asyncio.sleep(0)
        assert not sent
        headers = [(b"content-type", b"text/event-stream")]
        await stream.send({"type": "http.response.start", "status": 200, "headers": headers})
        await asking
        await stream.send({"type": "http.response.body", "body": b"", "more_body": False})
        await stream.tell({"id": 2})

    asyncio.run(scene())
    assert (b"mcp-session-id", b"e-0") in sent[0]["headers"]
    assert sent[1]["body"] == b'event: message\r\ndata: {"id": 1}\r\n\r\n'
    assert len(sent) == 3
