"""The model server and the client that asks it."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from bench import model_client
from bench.model_server import ANSWER_S, serve
from tests.support.ports import free_port


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    found = free_port()
    monkeypatch.setitem(os.environ, "BENCH_MODEL_PORT", str(found))
    monkeypatch.setattr(model_client, "_idle", [])
    return found


async def _with_server(port: int) -> list[int]:
    server = asyncio.create_task(serve(port))
    await asyncio.sleep(0.05)
    try:
        async with asyncio.timeout(10):
            asked = [model_client.ask(n) for n in range(20)]
            blocking = asyncio.to_thread(lambda: [model_client.ask_blocking(n) for n in (7, 8)])
            got = await asyncio.gather(*asked)
            return [*got, *await blocking, await model_client.ask(9)]
    finally:
        server.cancel()
        for _, writer in model_client._idle:
            writer.close()


def test_everyone_gets_its_own_answer_after_the_wait(port: int) -> None:
    began = time.monotonic()
    assert asyncio.run(_with_server(port)) == [*range(20), 7, 8, 9]
    assert time.monotonic() - began >= 3 * ANSWER_S
