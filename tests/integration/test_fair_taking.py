"""Whose message is next, in the real script on a real Redis: by slots in use ÷ weight."""

from __future__ import annotations

import functools
import heapq
import itertools
import json
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest
import redis
from kombu.utils.uuid import uuid

from app.messaging import transport
from app.messaging.envelope import read_envelope
from app.messaging.fairly import DEBT_KEPT, DEBT_S, SERVED_BITS
from app.messaging.intake import Intake
from app.messaging.scripts import OVERDUE, TransportScripts
from app.pool.pool import AHEAD
from celery_agents import names
from celery_agents.transport import Channel, commands
from celery_agents.wire.ids import new_id
from tests.support.drawn import costly
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.databases("none")

LEASE_S = 6
#: Keys that say that all, or a queue, was counted just now.
COUNTED = (":counted", ":counted:q")
HOSTILE = ("a:b", "1:x", "x@y", "'];--", 'q"uote', "ünï 漢字", "\\n", "0", "n" * 64, "%d+")


@pytest.fixture
def store(broker: RedisServer, redis_database: int) -> Iterator[Any]:
    with redis.Redis.from_url(broker.database_url(redis_database)) as made:
        yield made


def message(what: str, tenant: str = "", *, priority: int = 5, **headers: Any) -> dict[str, Any]:
    marks = {names.INTAKE: 1, **headers} | ({names.TENANT: tenant} if tenant else {})
    about = {"task": "t", "id": what, **{k: v for k, v in marks.items() if v is not None}}
    properties = {"priority": priority, "delivery_info": {"routing_key": "q"}}
    return {"body": "", "headers": about, "properties": properties}


def list_of(queue: str, envelope: Mapping[str, Any]) -> str:
    step = envelope["properties"]["priority"] + 10 * bool(envelope["headers"].get(names.BULK))
    return f"{queue}{Channel.sep}{step}" if step else queue


def put(store: Any, *messages: dict[str, Any], queue: str = "q") -> None:
    """Enqueue, as clients and the service do."""
    with store.pipeline() as pipe:
        for name, *args in commands([(queue, m) for m in messages], list_of):
            getattr(pipe, name)(*args)
        pipe.execute()


class Consumer:
    """A worker's use of the scripts, without kombu around it."""

    def __init__(self, store: Any, *queues: str, **weights: float) -> None:
        self.store, self.queues = store, queues or ("q",)
        self.scripts = TransportScripts(weights)
        self.name, self.takes = uuid(), 0
        self.sorts = 0

    def take(self, room: int = 1) -> list[tuple[str, str]]:
        """Tags of what it gets, with the messages' ids."""
        self.takes += 1
        dead = (names.DEAD, names.DEAD_TIMES, names.DEAD_DROPPED)
        keys = [names.UNACKED, names.UNACKED_TIMES, *dead, *transport._sources(self.queues)]
        turn = self.takes % 2 * len(self.queues)
        about = (room, f"{self.name}.{self.takes}.", len(self.queues), 10_000, 100, 100, turn)
        found = self.store.eval(self.scripts.take, len(keys), *keys, *about, self.sorts)
        raws = zip(found[::3], found[2::3], strict=True)
        return [(tag.decode(), read_envelope(raw, 10_000)["headers"]["id"]) for tag, raw in raws]

    def ids(self, room: int = 1) -> list[str]:
        return [step_id for _, step_id in self.take(room)]

    def ack(self, *tags: str) -> None:
        owned = [tag for tag in tags if "\n" in tag]
        if owned:
            keys = (names.UNACKED, names.UNACKED_TIMES)
            self.store.eval(self.scripts.acknowledge, 2, *keys, *owned)
        for tag in {*tags} - {*owned}:
            self.store.hdel(names.UNACKED, tag)
            self.store.zrem(names.UNACKED_TIMES, tag)

    def give_back(self, tag: str) -> None:
        key, _, raw = self.store.hget(names.UNACKED, tag).partition(b"\n")
        keys = (names.UNACKED, names.UNACKED_TIMES, key, names.WAKE + "q")
        self.store.eval(self.scripts.give_back, 4, *keys, tag, raw, "RPUSH")

    def tend(
        self,
        *used: tuple[str, float],
        at_once: bool = True,
        later: Mapping[str, float] = MappingProxyType({}),
    ) -> bool:
        if at_once:
            self.store.delete(names.HELD + ":counted")
        held_for_later = json.dumps([*later.items()])
        told = [[f"q\n{tenant}", seconds] for tenant, seconds in used]
        about = (self.name, LEASE_S, 1500, json.dumps(told), held_for_later)
        return bool(
            self.store.eval(self.scripts.tend, 1, names.UNACKED_TIMES, *about, *self.queues)
        )


def in_flight(store: Any, tenant: str) -> int:
    return int(store.hget(names.HELD, f"nq\n{tenant}") or 0)


def depth(store: Any) -> int:
    return Intake(store).depth("q")


def nothing_is_left(store: Any) -> bool:
    known = {names.INTAKE_RECORDS, names.INTAKE_TIMES, *(names.HELD + of for of in COUNTED)}
    return {k.decode() for k in store.scan_iter() if not k.startswith(b"agents:wake")} <= known


class TestOrder:
    def test_whoever_has_fewest_in_flight_is_next(self, store: Any) -> None:
        put(store, *(message(f"a{n}", "a") for n in range(6)))
        put(store, *(message(f"b{n}", "b") for n in range(6)))
        consumer = Consumer(store)
        tags = {step_id: tag for tag, step_id in consumer.take(4)}
        assert sorted(tags) == ["a0", "a1", "b0", "b1"]
        consumer.ack(tags["b0"], tags["b1"])
        assert consumer.ids(2) == ["b2", "b3"]
        consumer.ack(tags["a0"])
        assert consumer.ids() == ["a2"]

    @pytest.mark.parametrize("room", [1, 16, 64])
    def test_by_weight(self, store: Any, room: int) -> None:
        put(store, *(message(f"{who}{n}", who) for n in range(64) for who in "ab"))
        consumer = Consumer(store, a=3)
        came = Counter(i[0] for _ in range(64 // room) for i in consumer.ids(room))
        assert came == {"a": 48, "b": 16}

    def test_priority_first_then_tenants_then_age(self, store: Any) -> None:
        for n in range(3):
            put(store, message(f"a5-{n}", "a"), message(f"a1-{n}", "a", priority=1))
            put(store, message(f"b5-{n}", "b"))
        assert Consumer(store).ids(9) == [
            *("a1-0", "a1-1", "a1-2", "b5-0", "b5-1", "b5-2", "a5-0", "a5-1", "a5-2")
        ]

    def test_ties_go_to_whoever_was_served_longest_ago(self, store: Any) -> None:
        """More tenants than slots: by name, the first two would take turns for ever."""
        tenants = [f"t{n}" for n in range(9)]
        for who in tenants:
            put(store, *(message(f"{who}-{n}", who) for n in range(4)))
        consumer, served = Consumer(store), Counter[str]()
        for _ in range(27):
            ((tag, step_id),) = consumer.take()
            served[step_id.partition("-")[0]] += 1
            consumer.ack(tag)
        assert served == dict.fromkeys(tenants, 3)

    def test_one_message_at_a_time_does_not_go_first_each_time(self, store: Any) -> None:
        put(store, *(message(f"{who}{n}", who) for n in range(8) for who in "bc"))
        consumer, served = Consumer(store), Counter[str]()
        for n in range(12):
            put(store, message(f"a{n}", "a"))
            ((tag, step_id),) = consumer.take()
            served[step_id[0]] += 1
            consumer.ack(tag)
        assert served == {"a": 4, "b": 4, "c": 4}

    def test_many_at_once_are_in_their_tenants_turn(self, store: Any) -> None:
        many = (message(f"A{n}", "a", **{names.BULK: 1}) for n in range(40))
        put(store, *many, *(message(f"a{n}", "a") for n in range(10)))
        put(store, *(message(f"b{n}", "b") for n in range(20)))
        came = Counter(i[0] for i in Consumer(store).ids(20))
        assert came == {"b": 10, "a": 5, "A": 5}

    def test_nobody_in_particular_is_a_tenant_like_others(self, store: Any) -> None:
        put(
            store,
            *(message(f"-{n}") for n in range(20)),
            *(message(f"a{n}", "a") for n in range(20)),
        )
        consumer = Consumer(store)
        taken = consumer.take(10)
        assert Counter(i[0] for _, i in taken) == {"-": 5, "a": 5}
        consumer.ack(*(tag for tag, i in taken if i[0] == "-"))
        assert [i[0] for i in consumer.ids(5)] == ["-"] * 5

    def test_queues_take_turns_whoever_has_tenants(self, store: Any) -> None:
        put(store, *(message(f"q{n}", "a") for n in range(10)))
        put(store, *(message(f"p{n}") for n in range(10)), queue="p")
        came = Counter(i[0] for i in Consumer(store, "q", "p").ids(8))
        assert came["p"] == came["q"] == 4

    def test_a_light_tenant_beside_many(self, store: Any) -> None:
        """At most two messages go before each of its own."""
        for start in range(0, costly(100_000), 5000):
            put(
                store,
                *(
                    message(f"a{start + n}", "a", agents_intake=None, agents_journaled=1)
                    for n in range(5000)
                ),
            )
        consumer = Consumer(store)
        running, waited = deque(consumer.take(16)), []
        for n in range(100):
            put(store, message(f"b{n}", "b"))
            for before in range(10):
                consumer.ack(running.popleft()[0])
                running += consumer.take()
                if running[-1][1][0] == "b":
                    waited.append(before)
                    break
            for _ in range(12):
                consumer.ack(running.popleft()[0])
                running += consumer.take()
        assert len(waited) == 100
        assert max(waited) <= 2
        assert depth(store) == store.llen(f"q{Channel.sep}5{names.TENANT_LIST}a")

    @pytest.mark.parametrize("tenant", HOSTILE)
    def test_names_are_texts(self, store: Any, tenant: str) -> None:
        put(store, message("one", tenant), message("two", "b"), message("three", tenant))
        consumer = Consumer(store)
        consumer.scripts = TransportScripts({tenant: 2.0})
        taken = consumer.take(3)
        assert sorted(i for _, i in taken) == ["one", "three", "two"]
        assert in_flight(store, tenant) == 2
        consumer.tend()
        assert in_flight(store, tenant) == 2
        consumer.ack(*(tag for tag, _ in taken))
        assert in_flight(store, tenant) == 0
        assert not consumer.tend()
        assert nothing_is_left(store)

    def test_serving_so_often_that_counting_begins_anew(self, store: Any) -> None:
        put(store, *(message(f"{who}{n}", who) for n in range(9) for who in "abc"))
        store.hset(names.HELD, "served", 2**SERVED_BITS - 3)
        consumer, served = Consumer(store), Counter[str]()
        for _ in range(18):
            ((tag, step_id),) = consumer.take()
            served[step_id[0]] += 1
            consumer.ack(tag)
            consumer.tend()
        assert max(served.values()) - min(served.values()) <= 1


class Simulation:
    """A worker as it is, in a time of its own, and the slot time that each tenant's steps got.

    It takes some messages more than it has slots; what it has taken is claimed before its step
    begins, and written down after, without a slot. A slot that is free goes to whoever of those
    that wait in it uses the fewest for its weight (app/pool/permits.py).
    """

    LAG_S, TEND_S = 0.1, 1.5

    def __init__(
        self, store: Any, slots: int, steps: Mapping[str, float], **weights: float
    ) -> None:
        self.store, self.steps, self.weights = store, steps, weights
        self.consumer = Consumer(store, **weights)
        self.slots, self.room = slots, slots + slots // AHEAD
        self.sent = Counter[str]()
        self.clock, self.due = 0.0, list[tuple[float, int, Callable[[], None]]]()
        self.numbers = itertools.count()
        self.waiting: dict[str, deque[str]] = {who: deque() for who in steps}
        self.running: dict[str, tuple[str, float]] = {}
        self.used: dict[str, float] = dict.fromkeys(steps, 0.0)
        self.told: dict[str, float] = dict.fromkeys(steps, 0.0)
        self.rng = random.Random(1)

    def later(self, seconds: float, what: Callable[..., None], *about: Any) -> None:
        call: Callable[[], None] = functools.partial(what, *about)
        heapq.heappush(self.due, (self.clock + seconds, next(self.numbers), call))

    def refill(self) -> None:
        for who in self.steps:
            if self.store.llen(f"q{Channel.sep}5{names.TENANT_LIST}{who}") < 2 * self.slots:
                self.sent[who] += 1
                ids = (f"{who}:{self.sent[who]}-{n}" for n in range(8 * self.slots))
                put(self.store, *(message(step_id, who) for step_id in ids))

    def take(self) -> None:
        self.refill()
        for tag, step_id in self.consumer.take(self.room):
            self.room -= 1
            self.later(self.LAG_S * self.rng.random(), self.claimed, tag, step_id.partition(":")[0])

    def claimed(self, tag: str, who: str) -> None:
        self.waiting[who].append(tag)
        self.begin()

    def begin(self) -> None:
        while len(self.running) < self.slots and any(self.waiting.values()):
            held = Counter(who for who, _ in self.running.values())
            tenants = [who for who in self.steps if self.waiting[who]]
            who = min(tenants, key=lambda who: held[who] / self.weights.get(who, 1))
            tag = self.waiting[who].popleft()
            self.running[tag] = who, self.clock
            self.later(self.steps[who] * self.rng.uniform(0.9, 1.1), self.ended, tag)

    def ended(self, tag: str) -> None:
        who, since = self.running.pop(tag)
        self.used[who] += self.clock - since
        self.begin()
        self.later(self.LAG_S * self.rng.random(), self.written, tag)

    def written(self, tag: str) -> None:
        self.consumer.ack(tag)
        self.room += 1
        self.take()

    def slot_time(self) -> dict[str, float]:
        found = dict(self.used)
        for who, since in self.running.values():
            found[who] += self.clock - since
        return found

    def tend(self) -> None:
        used = self.slot_time()
        self.consumer.tend(*((who, used[who] - self.told[who]) for who in used))
        self.told = used
        self.later(self.TEND_S, self.tend)

    def run(self, until_s: float) -> dict[str, float]:
        """Shares of the slot time, after a while in which all begin together."""
        warm, before = until_s / 5, dict.fromkeys(self.steps, 0.0)
        self.later(warm, lambda: before.update(self.slot_time()))
        self.take()
        self.tend()
        while self.due[0][0] < until_s:
            self.clock, _, what = heapq.heappop(self.due)
            what()
        self.clock = until_s
        used = {who: used - before[who] for who, used in self.slot_time().items()}
        whole = sum(used.values())
        assert whole == pytest.approx(self.slots * (until_s - warm), rel=0.01)  # no slot was idle
        return {who: seconds / whole for who, seconds in used.items()}


@pytest.mark.parametrize(
    ("weights", "share"), [({}, 0.5), ({"long": 3}, 0.75), ({"short": 3}, 0.25)]
)
def test_slot_time_is_shared_however_long_steps_are(
    store: Any, weights: dict[str, float], share: float
) -> None:
    """By counts of messages, steps of ten seconds would get 91 % beside such of one.

    By what is in flight, without debts, they would get 53 %, 78 % and 31 % in these three.
    """
    found = Simulation(store, 20, {"long": 10.0, "short": 1.0}, **weights).run(100.0)
    assert found["long"] == pytest.approx(share, abs=0.015)


def test_more_tenants_than_slots(store: Any) -> None:
    """Each has one message in flight or none: that alone would be taking turns by messages."""
    steps = {f"long{n}": 10.0 for n in range(9)} | {f"short{n}": 1.0 for n in range(9)}
    found = Simulation(store, 12, steps).run(200.0)
    assert sum(found[f"long{n}"] for n in range(9)) == pytest.approx(0.5, abs=0.07)


def test_alone_a_tenant_has_every_slot(store: Any) -> None:
    Consumer(store).ids()
    found = Simulation(store, 20, {"a": 1.0}, b=100).run(10.0)
    assert found == {"a": 1.0}


def debts(store: Any) -> dict[str, float]:
    """By tenant, as they stand in the queue."""
    known = {field.decode(): float(told) for field, told in store.hgetall(names.HELD).items()}
    return {of.partition("\n")[2]: told for of, told in known.items() if of.startswith("dq\n")}


class TestDebts:
    def test_what_was_used_beyond_the_least_counts_as_messages_in_flight(self, store: Any) -> None:
        put(store, *(message(f"{who}{n}", who) for n in range(40) for who in "ab"))
        consumer = Consumer(store, b=2)
        consumer.tend(("a", 7 * DEBT_S), ("b", 2 * DEBT_S))
        assert debts(store) == {"a": pytest.approx(6 * DEBT_S * DEBT_KEPT)}
        assert [i[0] for i in consumer.ids(12)] == ["b"] * 12
        assert Counter(i[0] for i in consumer.ids(9)) == {"a": 3, "b": 6}

    def test_nobody_in_particular_has_one_too(self, store: Any) -> None:
        put(store, *(message(f"-{n}") for n in range(20)), message("a", "a"))
        Consumer(store).tend(("", 1.0), ("a", 4.0))
        assert debts(store) == {"a": pytest.approx(3 * DEBT_KEPT)}

    def test_it_is_to_those_who_wait(self, store: Any) -> None:
        """Whoever has nothing there does not lower it, and keeps its own."""
        put(store, message("a", "a"), message("b", "b"))
        consumer = Consumer(store)
        consumer.tend(("a", 3.0), ("b", 2.0), ("c", 1.0), ("d", 9.0))
        assert debts(store) == {t: pytest.approx(n * DEBT_KEPT) for t, n in (("a", 1), ("d", 7))}
        consumer.take(2)
        consumer.tend()
        assert debts(store) == {}

    def test_who_waits_behind_more_urgent_ones_is_owed_nothing(self, store: Any) -> None:
        """Else those who work on before it would be in debt to whoever comes new."""
        put(store, *(message(f"a{n}", "a") for n in range(40)), message("c", "c", priority=9))
        consumer = Consumer(store)
        consumer.tend(("a", 30 * DEBT_S))
        assert debts(store) == {}
        put(store, *(message(f"b{n}", "b") for n in range(40)))
        assert Counter(i[0] for i in consumer.ids(20)) == {"a": 10, "b": 10}

    def test_others_queues_do_not_keep_it(self, store: Any) -> None:
        """Many workers of theirs count so often that this one would hardly ever come to it."""
        put(store, *(message(f"a{n}", "a") for n in range(3)))
        Consumer(store, "other").tend(at_once=False)
        consumer = Consumer(store)
        consumer.tend(("a", 30 * DEBT_S), at_once=False)
        assert debts(store) == {}
        consumer.tend(("a", 3.0), at_once=False)  # but once in a while is enough
        assert debts(store) == {"a": 3.0}

    def test_who_has_nothing_there_is_not_looked_for(self, store: Any) -> None:
        put(store, message("a", "a"))
        consumer = Consumer(store)
        consumer.tend(*((f"t{n}", 5.0) for n in range(100)))
        before = store.info("commandstats")["cmdstat_llen"]["calls"]
        consumer.tend()
        assert len(debts(store)) == 100
        assert store.info("commandstats")["cmdstat_llen"]["calls"] - before < 50

    def test_of_who_weighs_next_to_nothing(self, store: Any) -> None:
        put(store, message("a", "a"), message("b", "b"))
        consumer = Consumer(store, a=5e-324)
        assert consumer.tend(("a", 100.0))
        assert consumer.ids(2) == ["b", "a"]
        assert consumer.tend(("a", 100.0))

    def test_it_fades(self, store: Any) -> None:
        put(store, message("a", "a"), message("b", "b"))
        consumer = Consumer(store)
        consumer.tend(("a", 8.0))
        for _ in range(100):
            consumer.tend()
        assert debts(store) == {"a": pytest.approx(8 * DEBT_KEPT**101, abs=0.1)}


class TestCounting:
    def test_what_is_given_back_is_in_its_place_again(self, store: Any) -> None:
        put(store, *(message(f"a{n}", "a", priority=p) for n, p in enumerate((0, 5, 5))))
        consumer = Consumer(store)
        taken = consumer.take(3)
        for tag, _ in reversed(taken):
            consumer.give_back(tag)
        assert (in_flight(store, "a"), depth(store)) == (0, 3)
        assert consumer.ids(3) == ["a0", "a1", "a2"]
        consumer.give_back(taken[0][0]) if store.hexists(names.UNACKED, taken[0][0]) else None
        assert in_flight(store, "a") == 3

    def test_a_second_acknowledgement_lowers_nothing(self, store: Any) -> None:
        put(store, message("1", "a"), message("2", "a"))
        consumer = Consumer(store)
        (first, _), _ = consumer.take(2)
        consumer.ack(first)
        consumer.ack(first)
        assert in_flight(store, "a") == 1

    @pytest.mark.parametrize("wrong", [0, 1000])
    def test_a_wrong_count_is_put_right(self, store: Any, wrong: int) -> None:
        put(store, *(message(f"a{n}", "a") for n in range(5)), message("b", "b"))
        consumer = Consumer(store)
        consumer.take(4)
        store.hset(names.HELD, mapping={"nq\na": wrong, "nq\ngone": 7})
        assert consumer.tend()
        assert (in_flight(store, "a"), in_flight(store, "gone")) == (3, 0)

    def test_what_a_dead_worker_holds_does_not_count(self, store: Any) -> None:
        put(store, *(message(f"{who}{n}", who) for n in range(20) for who in "ab"))
        dead, alive = Consumer(store), Consumer(store)
        dead.take(8)
        store.zincrby(names.HOLDERS, -LEASE_S - 1, dead.name)
        alive.take(2)
        alive.tend()
        assert in_flight(store, "a") + in_flight(store, "b") == 2

    def test_the_end_of_what_a_dead_worker_held(self, store: Any) -> None:
        """It is given back after the visibility timeout, or acknowledged by a frozen one."""
        put(store, *(message(f"a{n}", "a") for n in range(6)))
        frozen, alive = Consumer(store), Consumer(store)
        (first, _), (second, _) = frozen.take(2)
        alive.take(2)
        store.zincrby(names.HOLDERS, -LEASE_S - 1, frozen.name)
        alive.tend()
        assert in_flight(store, "a") == 2
        frozen.ack(first)
        alive.give_back(second)
        assert in_flight(store, "a") == 2

    def test_what_an_older_worker_gave_back_is_found(self, store: Any) -> None:
        """It puts the message into its list, and knows of no ring."""
        put(store, message("1", "a"))
        consumer = Consumer(store)
        ((tag, _),) = consumer.take()
        key, _, raw = store.hget(names.UNACKED, tag).partition(b"\n")
        store.hdel(names.UNACKED, tag)
        store.zrem(names.UNACKED_TIMES, tag)
        store.rpush(key, raw)
        assert consumer.ids() == []
        assert consumer.tend()
        assert depth(store) == 1
        assert consumer.ids() == ["1"]

    def test_what_is_held_for_later_counts_from_then_on(self, store: Any) -> None:
        put(store, *(message(f"a{n}", "a") for n in range(3)))
        consumer = Consumer(store)
        (first, _), (second, _), (third, _) = consumer.take(3)
        assert in_flight(store, "a") == 3
        late = time.time() + 3600
        assert consumer.tend(later={first: late, second: late})
        assert in_flight(store, "a") == 1
        consumer.ack(third)
        assert in_flight(store, "a") == 0
        store.zadd(names.HELD + ":later", {first: time.time() - 1})
        assert consumer.tend()
        assert in_flight(store, "a") == 1
        consumer.ack(first)
        assert consumer.tend()  # one waits, for which there will be more to count
        consumer.ack(second)
        store.zadd(names.HELD + ":later", {second: time.time() - 1})
        assert not consumer.tend()
        assert nothing_is_left(store)

    def test_one_counts_at_a_time(self, store: Any) -> None:
        put(store, message("1", "a"))
        one, other = Consumer(store), Consumer(store)
        one.take()
        one.tend()
        store.hset(names.HELD, "nq\na", 9)
        assert other.tend(at_once=False)
        assert in_flight(store, "a") == 9

    def test_an_emptied_redis_begins_anew(self, store: Any) -> None:
        put(store, *(message(f"a{n}", "a") for n in range(4)))
        consumer = Consumer(store)
        taken = consumer.take(4)
        store.flushdb()
        consumer.ack(*(tag for tag, _ in taken))
        put(store, message("b", "b"))
        assert consumer.ids(4) == ["b"]
        assert (in_flight(store, "a"), in_flight(store, "b")) == (0, 1)

    def test_an_oversized_message_counts_for_nobody(self, store: Any) -> None:
        put(store, message("big", "a", x="x" * 20_000), message("1", "a"))
        consumer = Consumer(store)
        assert consumer.ids(2) == ["1"]
        assert in_flight(store, "a") == 1
        assert store.hvals(names.DEAD)[0].split(b"\n")[0].startswith(b"q\x06\x165")


def test_how_they_stand(store: Any) -> None:
    weights = {"heavy": 2.0}
    put(store, *(message(new_id(), "heavy") for _ in range(5)), message("x", "heavy", priority=1))
    put(store, message("y", "light"), message("z"))
    assert Intake(store).tenants("p") == []
    consumer = Consumer(store, **weights)
    taken = consumer.take(4)
    found = {s.name: s for s in Intake(store).tenants("q")}
    assert {name: (s.queued, s.in_flight) for name, s in found.items()} == {
        "heavy": (4, 2),
        "light": (0, 1),
        "": (0, 1),
    }
    assert found["heavy"].oldest_s == pytest.approx(0, abs=60)
    consumer.ack(*(tag for tag, _ in taken))
    assert [s.name for s in Intake(store).tenants("q")] == ["heavy"]


class TestPlainProducers:
    def plain(self, store: Any, *messages: dict[str, Any]) -> None:
        for one in messages:
            del one["headers"][names.INTAKE]
            store.lpush(list_of("q", one), json.dumps(one))

    def test_a_header_is_enough(self, store: Any) -> None:
        self.plain(store, *(message(f"a{n}", "a") for n in range(50)))
        self.plain(store, *(message(f"-{n}") for n in range(2)))
        self.plain(store, *(message(f"b{n}", 'b"ü') for n in range(4)))
        consumer = Consumer(store)
        assert consumer.ids() == ["a0"]  # it is what tells the worker to look for others
        consumer.sorts = 1
        assert depth(store) == 55
        taken = consumer.take(10)
        assert Counter(i[0] for _, i in taken) == {"-": 2, "a": 4, "b": 4}
        assert [i for _, i in taken if i[0] == "a"] == ["a1", "a2", "a3", "a4"]
        assert [i for _, i in taken if i[0] == "-"] == ["-0", "-1"]
        assert depth(store) == 45

    @pytest.mark.parametrize(
        "raw", ["junk", '{"agents_tenant": 7}', '"agents_tenant": "\\', '"agents_tenant": ""']
    )
    def test_what_is_no_tenant_stays(self, store: Any, raw: str) -> None:
        store.lpush("q", raw)
        consumer = Consumer(store)
        consumer.sorts = 1
        with pytest.raises(Exception, match=r"not_json|[Nn]ot JSON|bad_envelope|required|object"):
            consumer.take()
        assert not store.exists(names.RING + "q")


def test_no_tenants_no_trace(store: Any) -> None:
    """The script calls fewer commands than it did without tenants: for 16 of a backlog, 36."""
    put(store, *(message(str(n)) for n in range(40)))
    consumer = Consumer(store)
    consumer.take()
    calls = []
    for round_ in range(5):
        store.config_resetstat()
        taken = consumer.take(16)
        calls.append(sum(s["calls"] for s in store.info("commandstats").values()))
        put(store, *(message(f"{round_}-{n}") for n in range(16)))
    # EVAL itself and the INFO before; the server is others', too, whose commands it counts.
    assert min(calls) - 2 <= 16 + 14
    assert not any("\n" in tag for tag, _ in taken)
    assert not store.exists(names.HELD, names.HOLDERS, names.RING + "q")
    store.config_resetstat()
    consumer.store.eval(OVERDUE, 1, names.UNACKED_TIMES, 3600, 1)
