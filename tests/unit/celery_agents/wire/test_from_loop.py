"""Messages that are sent from an event loop are those that threads send."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
from celery import current_task, signals

from celery_agents import names
from celery_agents.client.client import Client
from celery_agents.client.run import DecisionRun, MapRun, Run
from celery_agents.errors import (
    BrokerUnavailableError,
    ConfigurationError,
    IdInUseError,
    InvalidPayloadError,
)
from celery_agents.wire.sending import BATCH
from deploy.local.servers import LOOPBACK
from tests.support.redis_server import RedisServer
from tests.support.stored_results import worker_says
from tests.support.tls import Authority, Relay

CALLS: list[tuple[Callable[[Client], Any], Callable[[Client], Awaitable[Any]]]] = [
    (lambda c: c.ask("a", "x", id="i"), lambda c: c.ask.aio("a", "x", id="i")),
    (
        lambda c: c.ask("a", {"ü": 1}, priority=0, timeout_s=5, id="i"),
        lambda c: c.ask.aio("a", {"ü": 1}, priority=0, timeout_s=5, id="i"),
    ),
    (
        lambda c: c.fallback(["a", "b"], 1, strategy="parallel", id="i"),
        lambda c: c.fallback.aio(["a", "b"], 1, strategy="parallel", id="i"),
    ),
    (
        lambda c: c.vote(["a"], "?", rule="borda", choices=["x"], id="i"),
        lambda c: c.vote.aio(["a"], "?", rule="borda", choices=["x"], id="i"),
    ),
    (lambda c: c.gather(["a"], 1, id="i"), lambda c: c.gather.aio(["a"], 1, id="i")),
    (
        lambda c: c.map("a", range(3), priority=9, id="i"),
        lambda c: c.map.aio("a", range(3), priority=9, id="i"),
    ),
]


@pytest.fixture
def no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the loop's work may go to one."""

    async def refuse(*_: Any) -> None:
        raise AssertionError("a thread is used")

    monkeypatch.setattr(asyncio, "to_thread", refuse)


@asynccontextmanager
async def client_on(url: str) -> AsyncIterator[Client]:
    async with Client(url) as client:
        yield client


def written(store: Any) -> dict[str, Any]:
    """All that stands in the server, without what differs from one message to the next."""
    found: dict[str, Any] = {}
    for key in sorted(store.scan_iter()):
        kind = store.type(key)
        if kind == "list":
            found[key] = [_same(raw) for raw in store.lrange(key, 0, -1)]
        elif kind == "hash":
            found[key] = {k: _same(raw) for k, raw in store.hgetall(key).items()}
        else:
            found[key] = sorted(store.zrange(key, 0, -1))
    store.flushdb()
    return found


def _same(raw: str) -> Any:
    message = json.loads(raw)
    assert message["properties"].pop("delivery_tag")
    return message


@pytest.mark.parametrize(("call", "twin"), CALLS)
@pytest.mark.usefixtures("no_thread")
def test_a_twin_writes_the_same(redis_url: str, store: redis.Redis, call: Any, twin: Any) -> None:
    async def ask() -> Any:
        async with client_on(redis_url) as client:
            return await twin(client)

    with Client(redis_url) as client:
        run = call(client)
    as_called = written(store)
    found = asyncio.run(ask())
    assert written(store) == as_called
    assert as_called[names.INTAKE_RECORDS]
    assert (type(found), found.id) == (type(run), run.id)


@pytest.mark.usefixtures("no_thread")
def test_many_in_few_writes(redis_url: str, store: redis.Redis) -> None:
    async def ask() -> list[Any]:
        async with client_on(redis_url) as client:
            runs: list[Run] = await client.ask.aio_many("a", range(2 * BATCH + 1))
            decisions = await client.vote.aio_many(["a"], ["x", "y"], priority=0)
            assert all(isinstance(run, DecisionRun) for run in decisions)
            assert isinstance(await client.map.aio("a", [1], priority=0), MapRun)
            assert await client.ask.aio_many("a", []) == []
            return runs

    before: Any = store.info("commandstats")
    runs = asyncio.run(ask())
    after: Any = store.info("commandstats")
    spent = after["cmdstat_exec"]["calls"] - before.get("cmdstat_exec", {"calls": 0})["calls"]
    assert spent == 3 + 1 + 1
    sent = [json.loads(raw) for raw in reversed(store.lrange("agents\x06\x165", 0, -1))]
    assert [message["headers"]["id"] for message in sent] == [run.id for run in runs]
    assert len({message["properties"]["delivery_tag"] for message in sent}) == len(runs)


@pytest.mark.usefixtures("no_thread")
def test_the_loop_goes_on_while_the_server_is_silent() -> None:
    async def ticks() -> int:
        for _ in range(10):
            await asyncio.sleep(0.001)
        return 10

    async def ask(url: str) -> None:
        async with client_on(url) as client:
            asking = asyncio.ensure_future(client.ask.aio("a", 1))
            assert await ticks() == 10
            assert not asking.done()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking

    with socket.create_server((LOOPBACK, 0)) as silent:
        asyncio.run(ask(f"redis://{LOOPBACK}:{silent.getsockname()[1]}/0"))


@pytest.mark.usefixtures("no_thread")
def test_an_id_that_names_another_call(redis_url: str, store: redis.Redis) -> None:
    async def ask() -> None:
        async with client_on(redis_url) as client:
            run = await client.ask.aio("a", 1, id="chosen")
            assert (await client.ask.aio("a", 1, id="chosen")).id == "chosen"
            with pytest.raises(IdInUseError, match="chosen"):
                await client.ask.aio("b", 1, id="chosen")
            store.delete(names.INTAKE_RECORDS)
            asked = run.message.fingerprint  # type: ignore[union-attr]
            meta = {"status": "SUCCESS", "result": 1, "task_id": "chosen", names.PAYLOAD: asked}
            store.set("celery-task-meta-chosen", json.dumps(meta))
            assert (await client.ask.aio("a", 1, id="chosen")).id == "chosen"
            with pytest.raises(IdInUseError, match="chosen"):
                await client.map.aio("a", [1], id="chosen")
            with pytest.raises(InvalidPayloadError, match="One id"):
                await client.ask.aio_many("a", [1, 2], id="other")

    asyncio.run(ask())


def test_a_client_of_several_loops_in_turn(redis_url: str, store: redis.Redis) -> None:
    client = Client(redis_url)

    async def ask(last: bool) -> None:
        await client.ask.aio("a", 1)
        await (client.aclose() if last else client._connection.aclose())

    for last in (False, False, True):
        asyncio.run(ask(last))
    assert store.llen("agents\x06\x165") == 3


def test_it_is_awaited_and_typed(redis_url: str) -> None:
    async def ask() -> Any:
        async with client_on(redis_url) as client:
            run = await client.ask.aio("a", 1, answer=list[int])
            await asyncio.to_thread(worker_says, client, run.id, [1, 2])
            return await run

    assert asyncio.run(ask()) == [1, 2]


def test_what_is_asked_within_a_task_knows_it(redis_url: str, store: redis.Redis) -> None:
    client = Client(redis_url)

    @client.celery.task(name="outer")
    def outer() -> list[str]:
        run = asyncio.run(ask())
        return [run.id, *(child.id for child in current_task.request.children)]

    async def ask() -> Run:
        return await client.ask.aio("a", 1)

    ids = outer.apply(task_id="o").get(disable_sync_subtasks=False)
    (raw,) = store.lrange("agents\x06\x165", 0, -1)
    headers = json.loads(raw)["headers"]
    assert ids == [headers["id"]] * 2
    assert (headers["root_id"], headers["parent_id"]) == ("o", "o")


def test_signals_are_sent_for_each(redis_url: str) -> None:
    told: list[str] = []

    def note(sender: str, **_: Any) -> None:
        told.append(sender)

    signals.before_task_publish.connect(note)
    signals.after_task_publish.connect(note)
    try:

        async def ask() -> None:
            async with client_on(redis_url) as client:
                await client.ask.aio_many("a", [1, 2])

        asyncio.run(ask())
    finally:
        signals.before_task_publish.disconnect(note)
        signals.after_task_publish.disconnect(note)
    assert told == [names.ASK] * 4


def test_a_broker_that_is_down_is_told_in_time() -> None:
    async def ask() -> None:
        async with client_on("redis://:hunter2@127.0.0.1:1/0") as client:
            await client.ask.aio("a", 1)

    start = time.monotonic()
    with pytest.raises(BrokerUnavailableError, match=r"127\.0\.0\.1.*REDIS_URL") as error:
        asyncio.run(ask())
    assert time.monotonic() - start < 5 * 2  # on a busy machine
    assert "hunter2" not in str(error.value)


def test_tls_is_verified(broker: RedisServer, redis_database: int, tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "authority"), Authority(tmp_path / "stranger")

    async def ask(url: str) -> None:
        async with client_on(url) as client:
            await client.ask.aio("a", 1, id="sent")
            await client.ask.aio("a", 1, id="sent")

    with Relay(broker.port, authority.server_context()) as wire:
        url = f"rediss://:{broker.password}@localhost:{wire.port}/{redis_database}"
        for trusted in ("", f"?ssl_ca_certs={quote(str(stranger.path))}"):
            with pytest.raises(ConfigurationError, match=r"REDIS_URL.*not trusted"):
                asyncio.run(ask(url + trusted))
        assert not wire.heard
        asyncio.run(ask(f"{url}?ssl_ca_certs={quote(str(authority.path))}"))
        assert wire.heard


def test_where_sentinels_name_the_server_a_thread_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    async def ask() -> None:
        client = Client("sentinel://127.0.0.1:1/0?master_name=main")
        monkeypatch.setattr(client._connection, "publish", sent.extend)
        await client.ask.aio("a", 1)

    asyncio.run(ask())
    assert [message.task for message in sent] == [names.ASK]
