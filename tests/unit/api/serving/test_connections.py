"""Heads that never end, in size or in time, and clients that never read."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvicorn
from fastapi import FastAPI
from uvicorn.server import ServerState

from api.serving.connections import AHEAD_MAX, BoundedProtocol
from tests.support.ports import free_port

SERVER = """
import asyncio
import sys
from types import SimpleNamespace
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from api.serving import connections
from api.streams.leaving import serve

connections.HEAD_S = float(sys.argv[2])
connections.UNREAD_S = 1.0
app = FastAPI()
app.state.services = SimpleNamespace(under_way=SimpleNamespace(leaving=False))

@app.post("/")
async def length(request: Request):
    body = await request.body()
    return {"bytes": len(body), "late": request.headers.get("x-late")}

@app.get("/endless")
async def endless():
    async def parts():
        try:
            while True:
                yield b"a" * 100_000
                await asyncio.sleep(0)
        finally:
            app.state.ended = True

    return StreamingResponse(parts())

@app.get("/ended")
async def ended():
    return getattr(app.state, "ended", False)

serve(app, "127.0.0.1", int(sys.argv[1]))
"""
LONG_S, SHORT_S = 600.0, 1.0
POST = b"POST / HTTP/1.1\r\nhost: a\r\n"


@pytest.fixture(scope="module")
def patient() -> Iterator[int]:
    yield from _serving(LONG_S)


@pytest.fixture(scope="module")
def hasty() -> Iterator[int]:
    yield from _serving(SHORT_S)


def _serving(head_s: float) -> Iterator[int]:
    port = free_port()
    argv = [sys.executable, "-c", SERVER, str(port), str(head_s)]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as child:
        try:
            while True:
                assert child.poll() is None
                with suppress(ConnectionRefusedError):
                    connected(port).close()
                    break
                time.sleep(0.05)
            yield port
        finally:
            child.terminate()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def told(connection: socket.socket) -> bytes:
    """All that the server says until it closes the connection."""
    found = b""
    with suppress(ConnectionResetError):
        while data := connection.recv(65_536):
            found += data
    return found


def flood(connection: socket.socket, data: bytes) -> None:
    """Send it until the server wants no more, 50 MB at the most."""
    with suppress(ConnectionResetError, BrokenPipeError):
        for _ in range(50_000_000 // len(data)):
            connection.sendall(data)
        pytest.fail("It takes all of it.")


def refusal(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), json.loads(body)["kind"]


@pytest.mark.parametrize(
    "flooded",
    [b"x-a: " + b"a" * 1000 + b"\r\n", b"a" * 1000],
    ids=["fields", "one"],
)
def test_a_head_without_an_end(patient: int, flooded: bytes) -> None:
    with closing(connected(patient)) as connection:
        connection.sendall(POST + b"x-endless: ")
        flood(connection, flooded)


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written, self.closed, self.left = b"", False, 0

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return self.left

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_extra_info(self, _: str) -> None:
        return None


def test_a_head_that_is_too_large_is_told_so() -> None:
    async def main() -> Wire:
        config = uvicorn.Config(FastAPI(), log_config=None)
        wire = Wire()
        connection = BoundedProtocol(config, ServerState(), {}, asyncio.get_running_loop())
        connection.connection_made(cast("Any", wire))
        for part in [POST, *[b"x-a: " + b"a" * 1000 + b"\r\n"] * 70]:
            if not wire.closed:
                connection.data_received(part)
        connection.connection_lost(None)
        return wire

    wire = asyncio.run(main())
    assert wire.closed
    assert refusal(wire.written) == (431, "head_too_large")


@pytest.mark.parametrize(
    "flooded", [b"x-a: " + b"a" * 1000 + b"\r\n", b"a" * 1000], ids=["fields", "one"]
)
def test_fields_behind_a_body_without_an_end(patient: int, flooded: bytes) -> None:
    with closing(connected(patient)) as connection:
        connection.sendall(POST + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-b: ")
        flood(connection, flooded)


def test_fields_behind_a_body_are_no_headers(patient: int) -> None:
    with closing(connected(patient)) as connection:
        connection.sendall(
            POST + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
            b"1\r\na\r\n0\r\nx-late: yes\r\n\r\n"
        )
        answer = told(connection)
    assert json.loads(answer.rpartition(b"\r\n\r\n")[2]) == {"bytes": 1, "late": None}


def test_a_body_byte_by_byte_is_read(patient: int) -> None:
    many = 30_000
    with closing(connected(patient)) as connection:
        connection.sendall(POST + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n")
        connection.sendall(b"1\r\na\r\n" * many + b"0\r\n\r\n")
        answer = told(connection)
    assert json.loads(answer.rpartition(b"\r\n\r\n")[2])["bytes"] == many


@pytest.mark.parametrize("said", [b"", POST, POST + b"content-length: 0\r\n\r\nPOST /"])
def test_a_head_that_is_late(hasty: int, said: bytes) -> None:
    with closing(connected(hasty)) as connection:
        connection.sendall(said)
        answer = told(connection)
    if b"content-length" in said:  # of two the first one was served
        assert answer.startswith(b"HTTP/1.1 200")
        answer = answer[answer.index(b"HTTP/1.1 408") :]
    assert refusal(answer) == (408, "too_slow")


def test_who_reads_nothing_is_let_go(patient: int) -> None:
    with closing(connected(patient)) as idle:
        idle.sendall(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n")
        until = time.monotonic() + 60
        while ended(patient) != b"true":
            assert time.monotonic() < until
            time.sleep(0.1)


class Timers:
    """A loop whose timers are over when it is told so."""

    def __init__(self) -> None:
        self._due: list[tuple[Any, tuple[Any, ...]]] = []

    def call_later(self, _: float, call: Any, *args: Any) -> Any:
        told = call, args
        self._due.append(told)
        return SimpleNamespace(cancel=lambda: self._due.remove(told))

    def end(self) -> None:
        due, self._due = self._due, []
        for call, args in due:
            call(*args)


def test_who_reads_slowly_reads_all_of_it() -> None:
    """A large body is written at once, and takes longer than anybody may read nothing."""
    wire, timers = Wire(), Timers()
    connection = connection_to(Endless(), wire, timers)
    connection._in_time()  # no head is waited for
    wire.left = 10_000_000
    connection.pause_writing()
    for _ in range(5):
        wire.left -= 1_000_000
        timers.end()
        assert not wire.closed
    timers.end()
    assert wire.closed


def ended(port: int) -> bytes:
    with closing(connected(port)) as connection:
        connection.sendall(b"GET /ended HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        return told(connection).rpartition(b"\r\n\r\n")[2]


GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


class Endless:
    """An app whose responses end when nobody is there any more."""

    def __init__(self) -> None:
        self.begun = self.ended = 0

    async def __call__(self, _: Any, receive: Any, __: Any) -> None:
        self.begun += 1
        while (await receive())["type"] != "http.disconnect":
            pass
        self.ended += 1


def connection_to(app: Any, wire: Wire, loop: Any = None) -> BoundedProtocol:
    config = uvicorn.Config(app, log_config=None, interface="asgi3")
    made = BoundedProtocol(config, ServerState(), {}, loop or asyncio.get_running_loop())
    made.connection_made(cast("Any", wire))
    return made


@pytest.mark.parametrize(("count", "closed"), [(AHEAD_MAX, False), (10_000, True)])
def test_requests_ahead_of_their_responses_are_few(count: int, closed: bool) -> None:
    async def main() -> None:
        wire = Wire()
        connection = connection_to(Endless(), wire)
        connection.data_received(GET * count)
        assert wire.closed is closed
        assert len(connection.pipeline) == min(count - 1, AHEAD_MAX)
        connection.connection_lost(None)

    asyncio.run(main())


@pytest.mark.parametrize("count", [1, 3])
def test_a_response_with_requests_behind_it_is_told_that_nobody_is_there(count: int) -> None:
    async def main() -> None:
        app, wire = Endless(), Wire()
        connection = connection_to(app, wire)
        connection.data_received(GET * count)
        await asyncio.sleep(0)
        assert app.begun == 1
        connection.connection_lost(None)
        for _ in range(10):
            await asyncio.sleep(0)
        assert (app.begun, app.ended) == (1, 1)

    asyncio.run(main())


def test_what_is_no_request(patient: int) -> None:
    with closing(connected(patient)) as connection:
        connection.sendall(b"hello\r\n\r\n")
        assert refusal(told(connection)) == (400, "bad_request")
