"""Servers that answer without an end, in all ways that a client may have to decode."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from agents.base import Turn
from agents.kinds.http import HttpBackend, HttpConfig
from agents.kinds.model import ModelBackend
from agents.models.config import DOCUMENT_BYTES, STREAM_BYTES, ModelConfig
from agents.models.providers import PROVIDERS
from agents.net.bounds import ERROR_BYTES, PIECE, at_most, decoded
from agents.net.clients import SharedClients
from celery_agents.errors import (
    AgentsError,
    BadAnswerError,
    ProviderRefusedError,
    ProviderUnavailableError,
)

LOOPBACK = "127.0.0.1"
KB = 1024
KINDS = ("openai", "anthropic", "google", "http")
Send = Callable[[asyncio.StreamWriter], Any]


def document(status: str, body: bytes, *headers: str) -> Send:
    async def send(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()

    return send


def endless(status: str, piece: bytes, *headers: str) -> Send:
    async def send(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", "Transfer-Encoding: chunked", *headers, "", ""]
        writer.write("\r\n".join(lines).encode())
        while not writer.is_closing():
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()

    return send


def answer(kind: str, send: Send, step: Any, **fields: Any) -> Any:
    """What an agent of that kind makes of a server that answers so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(li for li in head.split(b"\r\n") if li.lower().startswith(b"content-len"))
            await reader.readexactly(int(length.split(b":")[1]))
            await send(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def run() -> Any:
        server = await asyncio.start_server(serve, LOOPBACK, 0)
        url = f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
        clients = SharedClients()
        backend: Any
        if kind == "http":
            config = HttpConfig(url=url, **fields)
            backend = HttpBackend(config, clients=clients, resolve_secret=lambda _: None)
        else:
            model = ModelConfig(provider=kind, model="m", base_url=url, **fields)
            provider = PROVIDERS[model.provider](
                model, clients=clients, resolve_secret=lambda _: None
            )
            backend = ModelBackend(model, provider)
        try:
            return await backend.answer(Turn(input="x"), step)
        finally:
            await backend.aclose()
            server.close()

    return asyncio.run(run())


BOMB = gzip.compress(b" " * (8 * 1024 * KB), 9)
ENDLESS = {
    "gzip bomb": document("200 OK", BOMB, "Content-Encoding: gzip"),
    "deflate bomb": document(
        "200 OK", zlib.compress(b" " * (8 * 1024 * KB)), "Content-Encoding: deflate"
    ),
    "blanks": endless("200 OK", b" " * 65_536),
    "a document": endless("200 OK", b"[" + b"1," * 30_000),
    "events": endless("200 OK", b"data: {}\n\n" * 5_000, "Content-Type: text/event-stream"),
    "one event": endless("200 OK", b"data: " + b"x" * 60_000, "Content-Type: text/event-stream"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ENDLESS)
def test_an_answer_without_an_end_is_a_bad_one(kind: str, way: str, step: Any) -> None:
    with pytest.raises(BadAnswerError):
        answer(kind, ENDLESS[way], step, max_response_bytes=200 * KB)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_is_decoded_piece_by_piece(coding: str) -> None:
    bomb = gzip.compress if coding == "gzip" else zlib.compress

    async def read() -> list[int]:
        async def sent() -> Any:
            yield bomb(b" " * (8 * 1024 * KB))

        return [len(piece) async for piece in decoded(sent(), coding)]

    sizes = asyncio.run(read())
    assert sum(sizes) == 8 * 1024 * KB
    assert max(sizes) <= PIECE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_read_to_their_start(kind: str, stream: bool, step: Any) -> None:
    fields = {} if kind == "http" else {"stream": stream}
    for send in (
        endless("400 Bad Request", b"x" * 65_536),
        document("400 Bad Request", BOMB, "Content-Encoding: gzip"),
        endless("307 Temporary Redirect", b"x" * 65_536, "Location: /elsewhere"),
    ):
        with pytest.raises((ProviderRefusedError, BadAnswerError, ProviderUnavailableError)):
            answer(kind, send, step, request_timeout_s=20, **fields)


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "deflate", "identity", ""])
def test_what_is_short_is_decoded(coding: str, step: Any) -> None:
    text = b'{"a": "' + b"x" * 200_000 + b'"}'
    packed = gzip.compress(text) if "gzip" in coding.lower() else text
    packed = zlib.compress(text) if coding == "deflate" else packed
    headers = [f"Content-Encoding: {coding}"] if coding else []
    found = answer("http", document("200 OK", packed, *headers), step)
    assert found.value == {"a": "x" * 200_000}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "gzip", "deflate"])
def test_what_cannot_be_decoded_is_a_bad_answer(kind: str, coding: str, step: Any) -> None:
    send = document("200 OK", b"{nothing of the kind}", f"Content-Encoding: {coding}")
    with pytest.raises(AgentsError) as caught:
        answer(kind, send, step)
    assert isinstance(caught.value, BadAnswerError)


def test_documents_and_streams_have_usual_limits() -> None:
    about = {"provider": "openai", "model": "m"}
    assert ModelConfig(**about).response_limit(stream=False) == DOCUMENT_BYTES
    assert ModelConfig(**about).response_limit(stream=True) == STREAM_BYTES
    assert ModelConfig(**about, max_response_bytes=7).response_limit(stream=True) == 7
    assert PIECE <= ERROR_BYTES < DOCUMENT_BYTES


async def _pieces(*sizes: int) -> Any:
    for size in sizes:
        yield b"x" * size


@pytest.mark.parametrize(("limit", "fits"), [(9, False), (10, True), (11, True)])
def test_bytes_are_counted_as_they_come(limit: int, fits: bool) -> None:
    async def read() -> int:
        return sum([len(p) async for p in at_most(_pieces(4, 6), limit, "It")])

    if fits:
        assert asyncio.run(read()) == 10
    else:
        with pytest.raises(BadAnswerError, match="more than 9 bytes"):
            asyncio.run(read())
