"""Asking the model server: the same small HTTP client for every contestant, over sockets.

An SDK's cost would be the same for all and hide their own; see ``bench/model_server.py``.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading

_END = b"\r\n\r\n"


def _port() -> int:
    return int(os.environ["BENCH_MODEL_PORT"])


def _request(value: int) -> bytes:
    body = json.dumps({"input": value}).encode()
    head = f"POST /v1/answers HTTP/1.1\r\nHost: model\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])


_idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []


async def ask(value: int) -> int:
    """From a coroutine, over a connection that nobody uses at the moment."""
    reader, writer = _idle.pop() if _idle else await asyncio.open_connection("127.0.0.1", _port())
    writer.write(_request(value))
    body = await reader.readexactly(_length(await reader.readuntil(_END)))
    _idle.append((reader, writer))
    return int(json.loads(body)["input"])


_local = threading.local()


def ask_blocking(value: int) -> int:
    """From a thread, over its own connection."""
    if not hasattr(_local, "socket"):
        _local.socket = socket.create_connection(("127.0.0.1", _port()))
        _local.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _local.socket.sendall(_request(value))
    data = b""
    while _END not in data:
        data += _received()
    head, _, body = data.partition(_END)
    while len(body) < _length(head):
        body += _received()
    return int(json.loads(body)["input"])


def _received() -> bytes:
    data: bytes = _local.socket.recv(65536)
    if not data:
        raise ConnectionError("the model server closed the connection")
    return data
