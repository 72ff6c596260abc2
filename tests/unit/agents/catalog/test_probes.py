from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar, cast

import pytest

from agents.base import Answer, StepContext, Turn
from agents.catalog import checks, probes
from agents.catalog.checks import Connect, Get, Question, Served, connection_to
from agents.catalog.probes import (
    Probe,
    checks_of,
    probe_agents,
)
from agents.catalog.registry import Registered
from tests.support.entries import agent_of
from tests.support.ports import free_port

GPT: dict[str, Any] = {"kind": "openai", "model": "m", "provider": "openai"}
HTTP: dict[str, Any] = {"kind": "http", "url": "https://example.com:8443/ask?x=1"}
CELERY: dict[str, Any] = {"kind": "celery", "task": "t", "queue": "shop"}
SCRIPTED: dict[str, Any] = {"kind": "scripted", "replies": [{"value": 1}]}


def registered(name: str, entry: dict[str, Any] | None = None, backend: Any = None) -> Registered:
    return agent_of(name, lambda: backend, "pure", entry)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "getproxies", dict)


@pytest.mark.parametrize(
    ("entry", "check"),
    [
        (None, None),
        (SCRIPTED, None),
        ({**SCRIPTED, "probe": "hello"}, Question("x", "hello")),
        (HTTP, Connect("example.com", 8443, tls=True)),
        ({**HTTP, "url": "http://example.com/ask"}, Connect("example.com", 80, tls=False)),
        ({**HTTP, "health_url": "http://h/ok"}, Get("http://h/ok")),
        ({**HTTP, "health_url": "http://h/ok", "probe": "hi"}, Question("x", "hi")),
        (CELERY, Served("shop")),
        (GPT, Connect("api.openai.com", 443, tls=True)),
        ({**GPT, "base_url": "http://127.0.0.1:8/v1"}, Connect("127.0.0.1", 8, tls=False)),
    ],
)
def test_how_each_kind_is_looked_at(entry: dict[str, Any] | None, check: Any) -> None:
    assert checks_of([registered("x", entry)])["agent:x"] == check


def test_providers_are_targets_of_their_own() -> None:
    local = {**GPT, "base_url": "http://127.0.0.1:8/v1", "health_url": "http://127.0.0.1:8/ok"}
    found = checks_of([registered("a", GPT), registered("b", GPT), registered("c", local)])
    assert list(found) == [
        "agent:a",
        "provider:openai",
        "agent:b",
        "agent:c",
        "provider:openai@127.0.0.1:8",
    ]
    assert found["provider:openai@127.0.0.1:8"] == Connect("127.0.0.1", 8, tls=False)
    assert registered("x", HTTP).provider is None


@pytest.mark.parametrize("proxy", ["http://proxy:3128", "proxy:3128"])
def test_where_clients_go_through_a_proxy_it_is_looked_at(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "getproxies", lambda: {"https": proxy})
    monkeypatch.setattr(checks, "proxy_bypass", lambda host: host == "inside")
    assert connection_to("https://outside/x") == Connect("proxy", 3128, tls=False)
    assert connection_to("https://inside/x") == Connect("inside", 443, tls=True)
    assert connection_to("http://outside/x") == Connect("outside", 80, tls=False)


class _Pages(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response({"/ok": 200, "/elsewhere": 307}.get(self.path, 503))
        if self.path == "/elsewhere":
            self.send_header("Location", "/stolen")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def server() -> Iterator[str]:
    made = HTTPServer(("127.0.0.1", 0), _Pages)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    thread.join()
    made.server_close()


class Asked:
    """A backend that is really asked."""

    def __init__(self, answer: Any) -> None:
        self.reply = answer
        self.turns: list[Turn] = []

    async def answer(self, turn: Turn, step: StepContext) -> Answer:
        self.turns.append(turn)
        if isinstance(self.reply, Exception):
            raise self.reply

        async def perform(key: str) -> Answer:
            assert key
            return Answer(value=self.reply)

        await step.progress(half=1)
        return await step.call("x", perform)


def look(*agents: Registered, queues: Any = set, timeout_s: float = 5) -> dict[str, Probe]:
    found = asyncio.run(probe_agents(agents, timeout_s=timeout_s, queues=queues))
    return {p.target: p for p in found}


def test_what_is_up_and_what_is_down(server: str) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    asked, broken = Asked("yes"), Asked(ValueError("token=abcdef broken"))
    found = look(
        registered("function"),
        registered("up", {**HTTP, "url": server}),
        registered("down", {**HTTP, "url": nobody}),
        registered("well", {**HTTP, "url": nobody, "health_url": f"{server}/ok"}),
        registered("ill", {**HTTP, "url": server, "health_url": f"{server}/other"}),
        registered("no_tls", {**HTTP, "url": server.replace("http:", "https:")}),
        registered("served", CELERY),
        registered("unserved", {**CELERY, "queue": "closed"}),
        registered("asked", {**SCRIPTED, "probe": "hello"}, asked),
        registered("broken", {**SCRIPTED, "probe": "hello"}, broken),
        queues=lambda: {"shop"},
    )
    well = {t.removeprefix("agent:") for t, p in found.items() if p.error is None}
    assert well == {"function", "up", "well", "served", "asked"}
    assert "503" in (found["agent:ill"].error or "")
    assert found["agent:unserved"].error == "No worker serves the queue 'closed'."
    assert found["agent:broken"].error == "ValueError: token=*** broken"
    assert found["agent:function"].latency_ms is None
    assert 0 < (found["agent:up"].latency_ms or 0) < 5000
    assert [t.input for t in asked.turns] == ["hello"]


def test_each_check_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Connect] = []

    async def connect(where: Connect) -> None:
        made.append(where)

    monkeypatch.setattr(probes, "_connect", connect)
    found = look(*(registered(f"m{n}", GPT) for n in range(5)))
    assert len(found) == 6
    assert len(made) == 1


def test_nobody_follows_where_an_answer_leads(server: str) -> None:
    _Pages.asked.clear()
    found = look(registered("led", {**HTTP, "url": server, "health_url": f"{server}/elsewhere"}))
    assert found["agent:led"].error is None
    assert _Pages.asked == ["/elsewhere"]


@pytest.mark.parametrize(
    "drip", [b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 3, b"HTTP/1.1 ", b"X" * 100]
)
def test_a_head_that_trickles_holds_nothing_up(drip: bytes) -> None:
    async def scene() -> list[Probe]:
        async def trickle(_: Any, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                for byte in drip * 1_000:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(0.02)
            writer.close()

        server = await asyncio.start_server(trickle, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        threads = threading.active_count()
        entry = {**HTTP, "url": url, "health_url": url}
        made = await probe_agents([registered("drips", entry)], timeout_s=0.5, queues=set)
        assert threading.active_count() <= threads + 1  # whichever imports
        server.close()
        return made

    (found,) = asyncio.run(scene())
    assert found.error is not None


def test_a_body_is_not_waited_for() -> None:
    async def scene() -> list[Probe]:
        over = asyncio.Event()

        async def endless(_: Any, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nx")
                await writer.drain()
                await over.wait()
            writer.close()

        server = await asyncio.start_server(endless, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        entry = {**HTTP, "url": url, "health_url": url}
        made = await probe_agents([registered("long", entry)], timeout_s=5, queues=set)
        over.set()
        server.close()
        return made

    (found,) = asyncio.run(scene())
    assert found.error is None


def test_silence_is_an_error() -> None:
    with socket.socket() as listening:  # takes the connection and says nothing: TLS waits
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        found = look(registered("quiet", {**HTTP, "url": url}), timeout_s=0.2)
    assert found["agent:quiet"].error == "No answer within 0.2 s."


def test_queues_are_asked_for_only_where_it_matters() -> None:
    def never() -> set[str]:
        raise AssertionError

    assert look(registered("f"), queues=never)["agent:f"].error is None
    assert cast("Any", look()) == {}
