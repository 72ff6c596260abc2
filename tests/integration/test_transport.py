"""The workers' transport on a real Redis: what is taken, kept, given back, and when it is idle."""

from __future__ import annotations

import json
import random
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu import Connection, Consumer, Exchange, Queue

from app.messaging import transport
from celery_agents import Client, names
from celery_agents.packed import exchange
from celery_agents.transport import transport_options
from deploy.local.servers import LOOPBACK
from tests.integration.harness import eventually
from tests.support.drawn import costly
from tests.support.forks import Fork
from tests.support.killed_at_take import DIRECTORY, TIMES
from tests.support.kombu_consumer import QUEUE
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.service import SERVICE

pytestmark = pytest.mark.databases("none")

OURS = "app.messaging.transport:Transport"
A, B = (Queue(n, Exchange(n), routing_key=n) for n in ("a", "b"))


class Line:
    """A producer and a consumer over the workers' transport, without Celery."""

    def __init__(self, url: str, **options: Any) -> None:
        self.connection = Connection(
            url,
            transport=OURS,
            transport_options={
                **transport_options(visibility_timeout_s=3600, redis_timeout_s=5.0),
                **options,
            },
        )
        self.got: list[Any] = []
        self.taken: list[Any] = []

    def send(self, what: str, queue: Queue = A, **options: Any) -> None:
        with self.connection.Producer() as producer:
            producer.publish(
                [[], {}, None],
                exchange=queue.exchange,
                routing_key=queue.routing_key,
                declare=[queue],
                serializer="json",
                headers={"task": "t", "id": what, **options.pop("headers", {})},
                **options,
            )

    def consume(
        self, *queues: Queue, prefetch: int = 1, no_ack: bool = False, channel: Any = None
    ) -> Consumer:
        channel = channel or self.connection.channel()
        channel.basic_qos(0, prefetch, False)
        consumer = Consumer(
            channel, list(queues or [A]), on_message=self.got.append, accept=["json"], no_ack=no_ack
        )
        consumer.consume()
        return consumer

    def drain(self, messages: int, *, ack: bool = True, timeout_s: float = 10.0) -> list[str]:
        """Ids of the next messages, as they come."""
        until = time.monotonic() + timeout_s
        ids: list[str] = []
        while len(ids) < messages and time.monotonic() < until:
            try:
                self.connection.drain_events(timeout=0.5)
            except TimeoutError:
                continue
            while self.got:
                message = self.got.pop(0)
                self.taken.append(message)
                ids.append(message.headers["id"])
                if ack:
                    message.ack()
        return ids

    def quiet(self, seconds: float) -> None:
        """Nothing comes for so long."""
        with pytest.raises(socket.timeout):
            self.connection.drain_events(timeout=seconds)


@pytest.fixture
def line(redis_url: str) -> Iterator[Line]:
    made = Line(redis_url)
    yield made
    made.connection.release()


@pytest.fixture
def store(broker: RedisServer, redis_database: int) -> Iterator[redis.Redis]:
    with broker.client(redis_database) as made:
        yield made


def keys_left(store: redis.Redis) -> set[str]:
    """What stands in Redis beside kombu's bindings and the wakes, which cannot grow."""
    return {k for k in store.scan_iter() if not k.startswith(("_kombu", names.WAKE))}


class TestTaking:
    def test_taken_messages_are_unacked_at_once(self, line: Line, store: redis.Redis) -> None:
        line.send("1")
        line.consume()
        line.drain(1, ack=False)
        ((tag, entry),) = store.hgetall(names.UNACKED).items()
        key, message = str(entry).split("\n", 1)
        assert (key, json.loads(message)["headers"]["id"]) == ("a", "1")
        assert store.zscore(names.UNACKED_TIMES, tag) == pytest.approx(time.time(), abs=60)
        assert store.llen("a") == 0

    def test_acknowledged_ones_leave_nothing(self, line: Line, store: redis.Redis) -> None:
        for i in range(50):
            line.send(str(i))
        line.consume(prefetch=8)
        assert line.drain(50) == [str(i) for i in range(50)]
        assert keys_left(store) == set()

    def test_no_more_than_the_prefetch(self, line: Line, store: redis.Redis) -> None:
        for i in range(20):
            line.send(str(i))
        line.consume(prefetch=3)
        assert line.drain(4, ack=False, timeout_s=2) == ["0", "1", "2"]
        assert (store.hlen(names.UNACKED), store.llen("a")) == (3, 17)

    def test_copies_are_two_deliveries(self, line: Line, store: redis.Redis) -> None:
        """Both hold the same tag of kombu's producer: an ack of one must not take the other."""
        line.send("1")
        store.rpush("a", store.lindex("a", 0) or "")
        line.consume(prefetch=2)
        assert line.drain(2, ack=False) == ["1", "1"]
        assert store.hlen(names.UNACKED) == 2

    def test_priorities_come_in_their_order(self, line: Line) -> None:
        wanted = [random.Random(4).randrange(10) for _ in range(40)]
        for i, priority in enumerate(wanted):
            line.send(f"{priority}-{i}", priority=priority)
        line.consume(prefetch=5)
        came = [int(i.split("-")[0]) for i in line.drain(40)]
        assert came == sorted(wanted)

    def test_queues_take_turns(self, line: Line) -> None:
        for i in range(20):
            line.send(f"a{i}")
        for i in range(5):
            line.send(f"b{i}", B)
        line.consume(A, B, prefetch=4)
        first = "".join(i[0] for i in line.drain(10)[:10])
        assert sorted(first) == ["a"] * 5 + ["b"] * 5
        assert "aaa" not in first

    @pytest.mark.parametrize("prefetch", [1, 4])
    @pytest.mark.parametrize("marks", [{}, {names.BULK: 1}], ids=["others", "bulk"])
    def test_many_at_once_and_others_take_turns(
        self, line: Line, store: redis.Redis, prefetch: int, marks: dict[str, int]
    ) -> None:
        """Three of one kind behind thirty of the other, whichever it is."""
        late = {} if marks else {names.BULK: 1}
        for i in range(30):
            line.send(f"first{i}", headers=marks, priority=5)
        for i in range(3):
            line.send(f"late{i}", headers=late, priority=5)
        lists = {key: store.llen(key) for key in ("a\x06\x165", "a\x06\x1615")}
        assert sorted(lists.values()) == [3, 30]
        assert line.connection.default_channel._size("a") == 33  # Flower counts by the same steps
        line.consume(prefetch=prefetch)
        came = line.drain(33)
        assert {f"late{i}" for i in range(3)} <= set(came[:8])
        assert [i for i in came if i.startswith("first")] == [f"first{i}" for i in range(30)]
        assert keys_left(store) == set()

    def test_messages_of_tenants_are_counted_and_purged(
        self, line: Line, store: redis.Redis
    ) -> None:
        """Whoever counts by the steps, as Flower does, counts them; nothing of a purge is left."""
        for number, tenant in enumerate(["a", "a", "b", ""]):
            marks = {names.INTAKE: 1} | ({names.TENANT: tenant} if tenant else {})
            line.send(str(number), headers=marks, priority=5)
        channel = line.connection.default_channel
        assert channel._size("a") == 4
        assert channel._purge("a") == 4
        assert channel._size("a") == 0
        assert keys_left(store) == {names.INTAKE_RECORDS, names.INTAKE_TIMES}

    def test_a_plain_producers_tenants_are_met(self, line: Line, store: redis.Redis) -> None:
        """The first message with a header tells it; from then on they are in fair order."""
        for number in range(20):
            line.send(f"a{number}", headers={names.TENANT: "a"})
        line.send("b", headers={names.TENANT: "b"})
        line.consume()
        assert "b" in line.drain(3)
        assert len(line.drain(18)) == 18
        line.connection.default_channel.tend()
        for channel in line.connection.transport.channels:
            store.delete(names.HELD + ":counted")
            channel.tend()
        assert all(key.startswith(names.HELD + ":counted") for key in keys_left(store))

    def test_many_at_once_keep_their_priority(self, line: Line) -> None:
        for priority in (9, 4, 0):
            for i in range(4):
                line.send(f"{priority}-{i}", headers={names.BULK: 1}, priority=priority)
        for priority in (5, 1):
            line.send(f"{priority}", priority=priority)
        line.consume(prefetch=5)
        assert "".join(i[0] for i in line.drain(14)) == "00001444459999"

    def test_by_direct_access(self, line: Line, store: redis.Redis) -> None:
        line.send("1")
        store.rpush("a", "junk")
        channel = line.connection.channel()
        message = channel.basic_get("a")
        assert message is not None
        assert message.headers["id"] == "1"
        assert store.hlen(names.UNACKED) == 1
        message.ack()
        assert store.hlen(names.UNACKED) == 0
        assert channel.basic_get("a") is None

    def test_without_acknowledging(self, line: Line, store: redis.Redis) -> None:
        line.send("1")
        line.consume(no_ack=True)
        assert line.drain(1, ack=False) == ["1"]
        assert keys_left(store) == set()

    def test_scripts_that_redis_forgot(self, line: Line, store: redis.Redis) -> None:
        line.consume()
        line.send("1")
        assert line.drain(1) == ["1"]
        store.script_flush()
        line.send("2")
        assert line.drain(1) == ["2"]

    def test_the_script_of_tenants_acknowledgements_is_sent_once(
        self, own_broker: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With each of them it would be most of what a worker writes; a Redis may forget it."""
        asked: list[str] = []

        def exchanged(client: Any, commands: Any) -> Any:
            asked.extend(name for name, *_ in commands if name.startswith("EVAL"))
            return exchange(client, commands)

        monkeypatch.setattr(transport, "exchange", exchanged)
        line = Line(own_broker.url)
        line.consume()
        with own_broker.client() as store:
            for n in range(4):
                if n == 2:
                    store.script_flush()
                line.send(str(n), headers={names.TENANT: "a", names.INTAKE: 1})
                assert line.drain(1) == [str(n)]
                assert not store.exists(names.UNACKED, names.UNACKED_TIMES, names.INTAKE_RECORDS)
                assert not store.hexists(names.HELD, "na\na")
        line.connection.release()
        assert asked == ["EVALSHA", "EVAL", "EVALSHA"] * 2


class TestGivingBack:
    def test_rejected(self, line: Line, store: redis.Redis) -> None:
        line.send("1")
        line.consume()
        line.connection.drain_events(timeout=5)
        line.got.pop().reject()
        assert keys_left(store) == set()

    def test_requeued(self, line: Line, store: redis.Redis) -> None:
        line.send("1", priority=3)
        line.send("2", priority=3)
        line.consume()
        line.connection.drain_events(timeout=5)
        line.got.pop().requeue()
        assert line.drain(1) == ["2"]
        line.connection.drain_events(timeout=5)
        again = line.got.pop()
        assert again.headers["id"] == "1"
        assert again.delivery_info["redelivered"]
        again.ack()
        assert keys_left(store) == set()

    def test_closing_gives_back_in_place(self, redis_url: str, store: redis.Redis) -> None:
        line = Line(redis_url)
        for i in range(6):
            line.send(str(i))
        line.consume(prefetch=2)
        line.drain(2, ack=False)
        line.connection.release()
        assert store.hlen(names.UNACKED) == 0
        assert store.llen("a") == 6

    @pytest.mark.parametrize("later", [0, 1])
    def test_a_connection_that_is_lost_closes_twice(
        self, own_broker: RedisServer, later: int
    ) -> None:
        """As Celery's worker closes it, which has steps that end before that, and later."""
        line = Line(own_broker.url)
        for what in range(1 + later):
            line.send(str(what))
        line.consume(prefetch=2, channel=line.connection.default_channel)
        line.drain(1 + later, ack=False)
        before, *others = line.taken
        own_broker.kill()
        with pytest.raises(line.connection.connection_errors):
            before.ack()
        line.connection.collect()
        line.connection.close()
        for other in others:
            other.ack()

    def test_a_dead_consumers_after_the_timeout(self, redis_url: str, store: redis.Redis) -> None:
        options = {"visibility_timeout": 1, "unacked_restore_interval": 0.2}
        dead, alive = Line(redis_url, **options), Line(redis_url, **options)
        dead.send("1")
        dead.consume()
        assert dead.drain(1, ack=False) == ["1"]
        alive.consume()
        assert alive.drain(1, timeout_s=20) == ["1"]
        assert store.hlen(names.UNACKED) == 0
        alive.connection.release()
        dead.connection.release()
        assert store.llen("a") == 0  # the ack came before the dead one's channel was closed

    def test_a_wrong_clock_gives_nothing_back(
        self, line: Line, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        line.send("1")
        line.consume()
        line.drain(1, ack=False)
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 10_000)
        line.connection.default_channel.qos.restore_visible()
        assert store.hlen(names.UNACKED) == 1

    def test_what_cannot_be_read(self, line: Line, store: redis.Redis) -> None:
        """A worker died with it in its hand: it comes back to its list, and becomes a letter."""
        store.hset(names.UNACKED, "t", "a\x06\x163\nno json")
        store.zadd(names.UNACKED_TIMES, {"t": 1})
        line.connection.default_channel.qos.restore_visible()
        assert store.lrange("a\x06\x163", 0, -1) == ["no json"]
        line.consume()
        line.connection.drain_events(timeout=5)
        assert (line.got, store.hlen(names.DEAD)) == ([], 1)


class TestWaiting:
    def test_idle_asks_redis_seldom(self, line: Line, store: redis.Redis) -> None:
        line.consume(A, B)
        line.quiet(1)
        store.config_resetstat()
        line.quiet(3)
        stats = store.info("commandstats")
        calls = sum(stats[f"cmdstat_{c}"]["calls"] for c in ("evalsha", "bzpopmin"))
        assert 2 <= calls <= 60  # 24 are due

    def test_our_producers_wake_it(self, redis_url: str) -> None:
        """With an hour between its own looks only a wake can be what brings the message."""
        line = Line(redis_url, poll_interval_s=3600, socket_timeout=30)
        line.consume()
        sender = Line(redis_url)
        timer = threading.Timer(1.0, sender.send, ["1"])
        timer.start()
        assert line.drain(1, timeout_s=20) == ["1"]
        timer.join()
        line.connection.release()
        sender.connection.release()

    def test_plain_producers_are_heard(self, line: Line, redis_url: str) -> None:
        line.consume()
        line.quiet(1)
        with Connection(redis_url) as plain, plain.Producer() as producer:
            producer.publish([[], {}, None], routing_key="a", headers={"id": "1"})
        assert line.drain(1) == ["1"]

    def test_what_is_left_wakes_the_next(self, redis_url: str, store: redis.Redis) -> None:
        lines = [Line(redis_url, poll_interval_s=3600) for _ in range(3)]
        for one in lines:
            one.consume()
        for i in range(3):
            lines[0].send(str(i))
        got = [one.drain(1, ack=False, timeout_s=10) for one in lines]
        assert sorted(i for ids in got for i in ids) == ["0", "1", "2"]
        for one in lines:
            one.connection.release()


class TestDemotion:
    """A server that becomes a replica is a connection that is lost, and not the worker's end."""

    @staticmethod
    def unblock(client: redis.Redis) -> None:
        for one in client.client_list():
            client.client_unblock(int(one["id"]), error=True)

    @staticmethod
    def demote(client: redis.Redis) -> None:
        client.replicaof(LOOPBACK, free_port())

    @pytest.mark.parametrize(
        ("happens", "idle"),
        [(unblock, True), (demote, True), (demote, False)],
        ids=["unblocked", "demoted while it waits", "demoted before it takes"],
    )
    def test_it_connects_anew(self, own_broker: RedisServer, happens: Any, *, idle: bool) -> None:
        line = Line(own_broker.url, poll_interval_s=3600, socket_timeout=30)
        line.consume()
        with own_broker.client() as client:
            if idle:
                line.quiet(1)  # it waits on the server now
            timer = threading.Timer(0.5 if idle else 0, happens, [client])
            timer.start()
            if not idle:
                timer.join()
            with pytest.raises(line.connection.connection_errors):
                line.connection.drain_events(timeout=20)
            timer.join()
            client.replicaof("NO", "ONE")
        line.connection.release()
        again = Line(own_broker.url)
        again.consume()
        again.send("1")
        assert again.drain(1) == ["1"]
        again.connection.release()


class TestGuarding:
    def test_oversized_is_not_even_read(self, redis_url: str, store: redis.Redis) -> None:
        line = Line(redis_url, message_limit_bytes=10_000)
        store.lpush("a", *["x" * 20_000] * 300)
        line.send("1")
        line.consume()
        assert line.drain(1) == ["1"]
        assert store.hlen(names.DEAD) == 300
        letter = store.hvals(names.DEAD)[0]
        came_from, size, about, start = str(letter).split("\n", 3)
        assert (came_from, size, len(start)) == ("a", "20000", 4096)
        assert json.loads(about)["cause"] == "oversized"
        line.connection.release()

    def test_the_oldest_letters_make_room(self, redis_url: str, store: redis.Redis) -> None:
        line = Line(redis_url, dead_letters_max=5)
        for i in range(12):
            store.lpush("a", f"junk {i}")
        line.send("1")
        line.consume()
        assert line.drain(1) == ["1"]
        kept = {str(letter).split("\n", 3)[3] for letter in store.hvals(names.DEAD)}
        assert kept == {f"junk {i}" for i in range(7, 12)}
        assert store.get(names.DEAD_DROPPED) == "7"
        line.connection.release()


def test_records_stand_beside_the_message(line: Line, store: redis.Redis) -> None:
    line.send("1", headers={names.INTAKE: 1})
    recorded = json.loads(store.hget(names.INTAKE_RECORDS, "1") or "")
    assert recorded == json.loads(store.lindex("a", 0) or "")
    assert store.zcard(names.INTAKE_TIMES) == 1


def test_wakes_do_not_grow(redis_url: str, store: redis.Redis) -> None:
    with Client(redis_url) as client:
        client.ask.many("a", range(1000))
    assert store.zcard(names.WAKE + names.QUEUE) == 1


class Consumers:
    """The consumer process that is killed, and started again."""

    def __init__(self, url: str, transport: str, file: Path, timeout_s: int, **env: str) -> None:
        if transport == OURS:
            transport = SERVICE.qualified(transport)
        program = [str(SERVICE.python), "-m", "tests.support.kombu_consumer"]
        self._command = [*program, url, transport, str(file), str(timeout_s)]
        self._env = SERVICE.environment(env)
        self._file = file
        self.process = self._start()

    def _start(self) -> Fork:
        place = self._file.with_name(f"consumer-{secrets.token_hex(4)}")
        return Fork(
            self._command,
            pid_file=place.with_suffix(".pid"),
            output=place.with_suffix(".log"),
            env=self._env,
            cwd=SERVICE.folder,
        )

    def replace(self) -> None:
        self.kill()
        self.process = self._start()

    def kill(self) -> None:
        self.process.kill()


@pytest.mark.parametrize(
    ("transport", "lost"), [(OURS, 0), ("redis", 3)], ids=["ours", "kombu's own"]
)
def test_killed_when_it_has_just_been_given_a_message(
    redis_url: str, store: redis.Redis, tmp_path: Path, transport: str, lost: int
) -> None:
    """In the gap between pop and *unacked*, which kombu's transport has and ours has not."""
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    file = tmp_path / "got"
    file.touch()
    line = Line(redis_url)
    for i in range(10):
        line.send(str(i), QUEUE)
    environment = {DIRECTORY: str(deaths), TIMES: "3"}
    consumer = Consumers(redis_url, transport, file, 1, **environment)
    try:
        for _ in range(3):
            assert consumer.process.wait(20) == -signal.SIGKILL
            consumer.replace()
        eventually(lambda: len(set(file.read_text().split())) >= 10 - lost)
        eventually(lambda: store.llen("flood") == 0)
        if lost:
            time.sleep(3)  # thrice what an unacknowledged one would take to come back
        left = {str(i) for i in range(10)} - set(file.read_text().split())
        assert len(left) == lost
    finally:
        consumer.kill()
        line.connection.release()


@pytest.mark.slow
def test_no_message_is_lost_to_kills(redis_url: str, store: redis.Redis, tmp_path: Path) -> None:
    """Many tiny messages; plain kombu loses some of them between the pop and *unacked*."""
    total, kills, dice = costly(6_000), costly(25), random.Random(25)
    file = tmp_path / "got"
    file.touch()
    line = Line(redis_url)
    consumers = [Consumers(redis_url, OURS, file, 2) for _ in range(2)]
    eventually(lambda: store.info("clients")["blocked_clients"] >= 2)

    def went_on(taken: int) -> bool:
        return file.stat().st_size > taken or not sender.is_alive()

    def flood() -> None:
        for i in range(total):
            line.send(str(i), QUEUE)
            time.sleep(0.0002)

    sender = threading.Thread(target=flood)
    sender.start()
    try:
        for kill in range(kills):
            seen = file.stat().st_size
            eventually(partial(went_on, seen))
            time.sleep(dice.uniform(0.0, 0.05))
            consumers[kill % 2].replace()
        sender.join()
        eventually(lambda: len(set(file.read_text().split())) == total, timeout_s=40)
        eventually(lambda: store.hlen(names.UNACKED) == 0 and store.llen("flood") == 0)
    finally:
        sender.join()
        for consumer in consumers:
            consumer.kill()
        line.connection.release()
