"""Agents that are HTTP services, against the fake server answering raw bodies."""

from __future__ import annotations

import asyncio
import json
import traceback
from typing import Any

import pytest
from pydantic import ValidationError

from agents.base import Answer, Turn
from agents.kinds.http import HttpBackend, HttpConfig
from agents.net.clients import SharedClients
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.errors import (
    AgentsError,
    BadAnswerError,
    MissingKeyError,
    ProviderRefusedError,
    ProviderUnavailableError,
    RateLimitedError,
)
from tests.fakes.model_server import Does, ModelServer

TOKEN = "service-token-0123456789"
TURN = Turn(input={"q": "ü"}, instructions="Briefly.", choices=("a", "b"))


def ask(server: ModelServer, step: Any, turn: Turn = TURN, **fields: Any) -> Answer:
    given = {"url": f"{server.url}/agent", "instructions": "You judge.", "token_env": "TOKEN"}
    config = HttpConfig.model_validate(given | fields)

    async def run() -> Answer:
        backend = HttpBackend(config, clients=SharedClients(), resolve_secret={"TOKEN": TOKEN}.get)
        try:
            return await backend.answer(turn, step)
        finally:
            await backend.aclose()

    return asyncio.run(run())


def test_what_is_sent(server: ModelServer, step: Any) -> None:
    server.script(Does(raw=b"1"))
    ask(server, step)
    (seen,) = server.requests
    assert seen.path == "/agent"
    assert seen.headers["authorization"] == f"Bearer {TOKEN}"
    assert seen.headers["idempotency-key"] == "step-1-1"
    assert seen.body == {
        "input": {"q": "ü"},
        "instructions": "You judge.\n\nBriefly.",
        "choices": ["a", "b"],
        "schema": None,
        "step_id": "step-1",
        "run_id": "run-1",
    }


def test_a_conversation_is_sent_where_there_is_one(server: ModelServer, step: Any) -> None:
    server.script(Does(raw=b"1"))
    said = ChatMessage(role="user", content="Hello")
    ask(server, step, TURN.model_copy(update={"messages": (said,)}))
    assert server.requests[0].body["messages"] == [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    ("body", "value", "calls", "cost"),
    [
        (b'"yes"', "yes", 1, 0.0),
        (b"null", None, 1, 0.0),
        (b'{"option": "a"}', {"option": "a"}, 1, 0.0),
        (b'{"value": [1]}', [1], 1, 0.0),
        (b'{"value": 1, "usage": null}', 1, 1, 0.0),
        (b'{"value": 1, "usage": {"cost_usd": 0.5, "calls": 3}}', 1, 3, 0.5),
        (b'{"value": 1, "usage": {"cost_usd": null}}', 1, 1, None),
        (b'{"value": 1, "other": 2}', {"value": 1, "other": 2}, 1, 0.0),
    ],
)
def test_answers(
    body: bytes, value: Any, calls: int, cost: float | None, *, server: ModelServer, step: Any
) -> None:
    server.script(Does(raw=body))
    answer = ask(server, step)
    assert answer.value == value
    assert (answer.usage.calls, answer.usage.cost_usd) == (calls, cost)


@pytest.mark.parametrize(
    ("does", "error"),
    [
        (Does(raw=b""), BadAnswerError),
        (Does(raw=b"<html>"), BadAnswerError),
        (Does(raw=b"[NaN]"), BadAnswerError),
        (Does(raw=b"\xff\xfe"), BadAnswerError),
        (Does(raw=b"[" * 100_000), BadAnswerError),
        (Does(raw=b'{"value": 1, "usage": {"cost": 1}}'), BadAnswerError),
        (Does(raw=b'{"value": 1, "usage": "much"}'), BadAnswerError),
        (Does(raw=b'"' + b"x" * 300_000 + b'"'), BadAnswerError),
        (Does(status=302, raw=b"", headers={"Location": "/agent"}), ProviderRefusedError),
        (Does(status=401, raw=f"no {TOKEN}".encode()), ProviderRefusedError),
        (Does(status=404, raw=b"gone"), ProviderRefusedError),
        (Does(status=500, raw=b"oops"), ProviderUnavailableError),
        (Does(status=503, raw=b"later"), ProviderUnavailableError),
        (Does(status=503, raw=b"later", headers={"Retry-After": "2"}), RateLimitedError),
        (Does(status=429, raw=b"x" * 300_000), RateLimitedError),
        (Does(status=429, raw=b'{"error": {"code": "insufficient_quota"}}'), ProviderRefusedError),
        (Does(status=429, raw=b"The daily limit is reached."), ProviderRefusedError),
        (Does(hang=True), ProviderUnavailableError),
    ],
    ids=lambda value: (
        f"{value.status}-{(value.raw or b'')[:20]!r}" if isinstance(value, Does) else ""
    ),
)
def test_failures(does: Does, error: type[AgentsError], server: ModelServer, step: Any) -> None:
    server.script(does)
    with pytest.raises(AgentsError) as caught:
        ask(server, step, request_timeout_s=2 if does.hang else 20)
    assert type(caught.value) is error
    assert TOKEN not in "".join(traceback.format_exception(caught.value))
    assert len(server.requests) == 1


def test_rate_limit_and_journal(server: ModelServer, step: Any) -> None:
    server.script(Does(status=429, raw=b"", headers={"Retry-After": "3"}), Does(raw=b"7"))
    with pytest.raises(RateLimitedError) as caught:
        ask(server, step)
    assert caught.value.retry_after_s == 3
    assert ask(server, step.again()).value == 7
    assert ask(server, step.again()).value == 7  # from the journal
    assert server.requests[0].body == server.requests[1].body
    assert len({seen.headers["idempotency-key"] for seen in server.requests}) == 1


def test_nobody_listens(server: ModelServer, step: Any) -> None:
    with pytest.raises(ProviderUnavailableError):
        ask(server, step, url="http://127.0.0.1:9/agent")


def test_missing_token(server: ModelServer, step: Any) -> None:
    with pytest.raises(MissingKeyError, match="OTHER"):
        ask(server, step, token_env="OTHER")
    assert server.requests == []


def test_no_token_wanted(server: ModelServer, step: Any) -> None:
    server.script(Does(raw=b"1"))
    ask(server, step, token_env=None)
    assert "authorization" not in server.requests[0].headers


def test_query_of_the_url_is_not_shown(server: ModelServer, step: Any) -> None:
    server.script(Does(status=500, raw=b""))
    with pytest.raises(ProviderUnavailableError) as caught:
        ask(server, step, url=f"{server.url}/agent?sig=abc")
    assert "sig=abc" not in caught.value.message


@pytest.mark.parametrize(
    "url", ["ftp://x/", "file:///etc/passwd", "/agent", "http://", "http://u:p@host/", "host"]
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        HttpConfig(url=url)


def test_a_long_answer_is_not_read_to_its_end(server: ModelServer, step: Any) -> None:
    server.script(Does(raw=json.dumps("x" * 50).encode()))
    with pytest.raises(BadAnswerError, match="more than 10 bytes"):
        ask(server, step, max_response_bytes=10)
