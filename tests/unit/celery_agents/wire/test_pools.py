"""A client that is closed gives back every connection, and cuts none that somebody uses."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from celery_agents import Client
from celery_agents.errors import BrokerUnavailableError
from celery_agents.wire.pools import ClientCelery
from tests.support.drawn import costly

#: Where messages of priority 5 stand.
QUEUE = "agents\x06\x165"


def descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def comes_to(count: Callable[[], int], wanted: int) -> None:
    deadline = time.monotonic() + 60
    while count() != wanted:
        assert time.monotonic() < deadline, f"{count()} of {wanted}"
        time.sleep(0.01)


@pytest.fixture
def _no_collection() -> Iterator[None]:
    """What only the garbage collector closes is open."""
    gc.collect()
    gc.freeze()  # once is enough
    gc.disable()
    yield
    gc.enable()


def use(client: Client) -> None:
    """Have it send, wait by its own way and by Celery's, and look."""
    run = client.ask("a", "x")
    client.celery.backend.mark_as_done(run.id, 1)
    assert run.get(timeout=30) == 1
    assert run.result.get(timeout=30) == 1
    assert client.connection.in_redis(run.id)[1]["status"] == "SUCCESS"


async def use_on_loop(client: Client) -> None:
    await client.ask.aio("a", "x")


async def with_twins(url: str) -> None:
    async with Client(url) as client:
        await use_on_loop(client)
        await asyncio.to_thread(use, client)


def closed_behind_its_loop(url: str) -> None:
    client = Client(url)
    asyncio.run(use_on_loop(client))
    client.close()


@pytest.mark.usefixtures("_no_collection")
def test_many_clients_leave_no_descriptor(redis_url: str, store: redis.Redis) -> None:
    def all_ways() -> None:
        with Client(redis_url) as client:
            use(client)
        closed_behind_its_loop(redis_url)
        asyncio.run(with_twins(redis_url))

    all_ways()
    served = len(store.client_list())
    before = descriptors()
    for _ in range(costly(67, part=6)):
        all_ways()
    assert descriptors() == before
    comes_to(lambda: len(store.client_list()), served)


@pytest.mark.usefixtures("_no_collection")
def test_one_client_of_many_loops_keeps_the_last_ones(redis_url: str) -> None:
    with Client(redis_url) as client:
        before = descriptors()
        for _ in range(20):
            asyncio.run(use_on_loop(client))
        assert descriptors() == before + 1
    assert descriptors() == before


def test_loops_of_uvloop_in_turn(redis_url: str) -> None:
    """Their transports show no socket to be closed, and are closed with their loop."""
    uvloop = pytest.importorskip("uvloop")
    open_now = []
    with Client(redis_url) as client:
        for _ in range(4):
            loop = uvloop.new_event_loop()
            try:
                loop.run_until_complete(use_on_loop(client))
            finally:
                loop.close()
            open_now.append(descriptors())
    assert open_now[1] == open_now[-1]


@pytest.mark.usefixtures("_no_collection")
def test_closed_from_elsewhere_while_its_loop_runs(redis_url: str) -> None:
    async def others() -> None:
        client = Client(redis_url)
        await asyncio.to_thread(int)  # the thread that closes has what it needs
        before = descriptors()
        await use_on_loop(client)
        assert descriptors() > before
        await asyncio.to_thread(client.close)
        await asyncio.to_thread(comes_to, descriptors, before)
        await use_on_loop(client)
        client.close()
        await asyncio.to_thread(comes_to, descriptors, before)

    asyncio.run(asyncio.wait_for(others(), 60))


@pytest.mark.usefixtures("_no_collection")
def test_a_loop_that_does_not_run_is_left_usable(redis_url: str) -> None:
    client = Client(redis_url)
    loop = asyncio.new_event_loop()
    before = descriptors()
    try:
        loop.run_until_complete(use_on_loop(client))
        client.close()
        loop.run_until_complete(asyncio.sleep(0.01))
        assert descriptors() == before
        loop.run_until_complete(use_on_loop(client))
        loop.run_until_complete(client.aclose())
        assert descriptors() == before
    finally:
        loop.close()


def test_closed_twice_and_used_again(redis_url: str, store: redis.Redis) -> None:
    client = Client(redis_url)
    client.close()
    use(client)
    before = descriptors()
    client.close()
    client.close()
    assert descriptors() < before
    use(client)
    client.close()
    assert store.llen(QUEUE) == 2


def test_no_other_client_of_the_same_redis_loses_its_own(redis_url: str) -> None:
    with Client(redis_url) as one, Client(redis_url) as other:
        use(one)
        use(other)
        with other.celery.pool.acquire() as connection:
            held = connection.default_channel
            one.close()
            assert held.recorded("nobody") is None
            assert not held.closed
        use(other)


def test_no_time_limit_is_set_for_the_process(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(redis_url)
    use(client)

    def refuse(seconds: Any) -> None:
        raise AssertionError(f"{seconds} s for all sockets")

    monkeypatch.setattr(socket, "setdefaulttimeout", refuse)
    client.close()


@pytest.mark.usefixtures("_no_collection")
def test_what_a_thread_uses_is_closed_when_it_has_done(redis_url: str, store: redis.Redis) -> None:
    with Client(redis_url) as first:
        use(first)
    before = descriptors()
    client = Client(redis_url)
    with client.celery.producer_or_acquire() as producer:
        assert producer.channel.recorded("nobody") is None
        pool = client.celery.pool
        client.close()
        producer.publish({}, routing_key="q")
        assert descriptors() > before
    assert descriptors() == before
    assert store.llen("q") == 1
    with pytest.raises(BrokerUnavailableError, match="closed"):
        pool.acquire()


@pytest.mark.usefixtures("_no_collection")
def test_a_wait_under_way_goes_on_and_gives_back(redis_url: str) -> None:
    with Client(redis_url) as first:
        use(first)
    before = descriptors()
    client = Client(redis_url)
    run = client.ask("a", "x")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(run.get, timeout=60)
        comes_to(lambda: len(client.celery.backend.client.pubsub_channels()), 1)
        client.close()
        with Client(redis_url) as other:
            other.celery.backend.mark_as_done(run.id, "there")
        assert waiting.result() == "there"
    client.close()
    del run, waiting  # what the wait was done with has come to its end
    assert descriptors() == before


def test_those_who_wait_for_a_connection_are_told(redis_url: str) -> None:
    client = Client(redis_url)
    limit = client.celery.conf.broker_pool_limit
    held = [client.celery.producer_pool.acquire() for _ in range(limit)]
    told: list[BrokerUnavailableError] = []

    def ask() -> None:
        with pytest.raises(BrokerUnavailableError, match="was closed") as error:
            client.ask("a", "x")
        told.append(error.value)

    pool = client.celery.producer_pool
    waiting = [threading.Thread(target=ask) for _ in range(5)]
    for thread in waiting:
        thread.start()
    comes_to(lambda: len(pool._resource.not_empty._waiters), 5)
    client.close()
    for thread in waiting:
        thread.join(60)
    assert len(told) == 5
    for producer in held:
        producer.release()
    use(client)
    client.close()


def test_many_threads_ask_while_it_is_closed_again_and_again(
    redis_url: str, store: redis.Redis
) -> None:
    client = Client(redis_url)
    over = threading.Event()

    def ask() -> int:
        sent = 0
        while not over.is_set():
            with suppress(BrokerUnavailableError):
                client.ask("a", "x")
                sent += 1
        return sent

    with ThreadPoolExecutor(12) as threads:
        asking = [threads.submit(ask) for _ in range(12)]
        for _ in range(30):
            client.close()
            time.sleep(0.01)
        over.set()
        sent = sum(each.result() for each in asking)
    client.close()
    assert sent
    assert store.llen(QUEUE) == sent


def test_one_is_made_while_another_thread_closes_all(redis_url: str) -> None:
    """Kombu asks a connection of the pool for defaults: one closed amid that has none."""
    client = Client(redis_url)
    pool = client.celery.pool
    closing = threading.Thread(target=pool.close)

    class Slow(type(pool.connection)):  # type: ignore[misc]
        @property
        def transport(self) -> Any:
            assert super().transport is not None
            if closing.ident is None:
                closing.start()
                closing.join(0.2)
            return self._transport

    pool.connection.__class__ = Slow
    pool.acquire(block=True).release()
    closing.join()
    assert pool.connection._transport is None
    client.close()


def in_fork(do: Callable[[], None]) -> int:
    """Return how a fork of this process ends that does this."""
    if (pid := os.fork()) == 0:
        code = 1
        try:
            do()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_fork_opens_its_own_and_cuts_none(redis_url: str, store: redis.Redis) -> None:
    client = Client(redis_url)
    use(client)
    held = client.celery.pool.acquire()
    channel = held.default_channel
    assert channel.recorded("nobody") is None

    def child() -> None:
        use(client)
        client.close()

    app: Any = client.celery
    assert isinstance(app, ClientCelery)
    with app._pools_lock:  # as another thread may have it
        assert in_fork(child) == 0
    assert in_fork(client.close) == 0
    assert channel.recorded("nobody") is None
    held.release()
    use(client)
    assert store.llen(QUEUE) == 3
    client.close()


def connections(store: redis.Redis) -> set[str]:
    return {str(one["id"]) for one in store.client_list()}


def test_a_fork_leaves_the_loops_connections_as_they_are(
    redis_url: str, store: redis.Redis
) -> None:
    client = Client(redis_url)
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(use_on_loop(client))
        before = connections(store)

        def child() -> None:
            asyncio.run(use_on_loop(client))
            client.close()
            gc.collect()

        assert in_fork(client.close) == 0
        assert in_fork(child) == 0
        loop.run_until_complete(asyncio.wait_for(use_on_loop(client), 30))
        comes_to(lambda: len(connections(store)), len(before))
        assert connections(store) == before  # none was made anew: the loop still hears
        loop.run_until_complete(client.aclose())
    finally:
        loop.close()
    assert store.llen(QUEUE) == 3


def test_a_fork_waits_for_results_by_its_own_connection(redis_url: str) -> None:
    client = Client(redis_url)
    use(client)
    backend: Any = client.celery.backend
    consumer = backend.result_consumer
    result: Any = client.ask("a", "x").result
    backend.add_pending_result(result)

    def place() -> Any:
        return consumer._pubsub.connection._sock.getsockname()

    ours = place()

    def child() -> None:
        assert consumer._pubsub is None
        other = client.ask("a", "y").result
        backend.add_pending_result(other)
        assert place() != ours
        backend.mark_as_done(other.id, 1)
        while not other._cache:
            consumer.drain_events(timeout=1)
        backend.add_pending_result(result)  # of the other process: as new here
        backend.mark_as_done(result.id, 2)
        while not result._cache:
            consumer.drain_events(timeout=1)
        client.close()

    with consumer._pubsub_lock:  # as another thread may have it
        assert in_fork(child) == 0
    assert place() == ours
    while not result._cache:
        consumer.drain_events(timeout=1)
    assert result.get(timeout=30) == 2
    client.close()
