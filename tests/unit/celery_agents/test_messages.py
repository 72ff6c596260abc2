from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import current_task, signals
from kombu import Connection, Queue

from celery_agents import names
from celery_agents.client import Client
from celery_agents.errors import InvalidPayloadError, PayloadTooLargeError
from celery_agents.messages import Draft
from celery_agents.sending import BATCH
from celery_agents.transport import Channel
from tests.support.redis_server import RedisServer


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    with Client(redis_url) as made:
        yield made


@pytest.fixture
def store(broker: RedisServer, redis_database: int) -> Iterator[redis.Redis]:
    with broker.client(redis_database) as made:
        yield made


@pytest.fixture
def told() -> Iterator[list[tuple[str, Any]]]:
    """What the signals of publishing say; the first one adds a header, as tracing does."""
    found: list[tuple[str, Any]] = []

    def before(sender: str, headers: dict[str, Any], **more: Any) -> None:
        headers["traceparent"] = "00-1"
        found.append(("before", {"sender": sender, "headers": headers, **more}))

    def after(sender: str, headers: dict[str, Any], **more: Any) -> None:
        found.append(("after", {"sender": sender, "headers": headers, **more}))

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    yield found
    signals.before_task_publish.disconnect(before)
    signals.after_task_publish.disconnect(after)


def queued(store: redis.Redis) -> list[Any]:
    return [json.loads(raw) for raw in reversed(store.lrange("agents\x06\x165", 0, -1))]


def test_messages_come_in_the_order_in_which_they_were_sent(
    client: Client, store: redis.Redis
) -> None:
    runs = client.ask.many("a", range(1200))
    assert [message["headers"]["id"] for message in queued(store)] == [run.id for run in runs]
    assert len({message["properties"]["delivery_tag"] for message in queued(store)}) == 1200


def test_any_consumer_of_kombu_reads_them(client: Client, redis_url: str) -> None:
    (run,) = client.ask.many("ü", ["x"], priority=0, timeout_s=5)
    with Connection(redis_url) as connection:
        message = Queue("agents", channel=connection.channel()).get(accept=["json"])
    assert message.decode() == [["x"], {"agent": "ü", "timeout_s": 5.0}, {}]
    assert (message.headers["task"], message.headers["id"]) == (names.ASK, run.id)
    assert message.headers["root_id"] == run.id
    assert message.properties["correlation_id"] == run.id


def test_nothing_is_sent_when_one_of_many_is_a_mistake(client: Client, store: redis.Redis) -> None:
    with pytest.raises(InvalidPayloadError, match="input: "):
        client.ask.many("a", [*range(1200), {1}])  # type: ignore[list-item]  # that is the mistake
    with pytest.raises(PayloadTooLargeError):
        client.ask.many("a", [*range(1200), "x" * 300_000])
    assert queued(store) == []


def test_writes_are_bounded_by_their_bytes(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    put_all = Channel.put_all

    def counted(self: Any, given: Any) -> None:
        sizes.append(len(given))
        put_all(self, given)

    monkeypatch.setattr(Channel, "put_all", counted)
    client.ask.many("a", ["x" * 200_000] * 7)
    client.ask.many("a", range(BATCH + 1))
    assert sizes == [6, 1, BATCH, 1]


def test_signals_are_sent_for_each(client: Client, store: redis.Redis, told: list[Any]) -> None:
    runs = client.ask.many("a", range(3))
    assert [when for when, _ in told] == ["before"] * 3 + ["after"] * 3
    assert {what["sender"] for _, what in told} == {names.ASK}
    assert [what["headers"]["id"] for _, what in told] == 2 * [run.id for run in runs]
    assert [list(what["body"][0]) for _, what in told] == 2 * [[0], [1], [2]]
    assert {what["routing_key"] for _, what in told} == {"agents"}
    assert [message["headers"]["traceparent"] for message in queued(store)] == ["00-1"] * 3
    assert [json.loads(message["body"])[0] for message in queued(store)] == [[0], [1], [2]]


def test_what_is_asked_within_a_task_knows_it(client: Client, store: redis.Redis) -> None:
    @client.celery.task(name="outer")
    def outer() -> list[str]:
        return [client.ask("a", 1).id, *(child.id for child in current_task.request.children)]

    ids = outer.apply(task_id="o").get(disable_sync_subtasks=False)
    (message,) = queued(store)
    assert ids == [message["headers"]["id"]] * 2
    assert (message["headers"]["root_id"], message["headers"]["parent_id"]) == ("o", "o")


def test_a_signature_says_the_same_as_the_message(client: Client, store: redis.Redis) -> None:
    client.ask("a", {"x": "y"}, priority=5, id="1")
    client.publish([client.ask.s("a", {"x": "y"}, id="2")])
    direct, by_celery = queued(store)
    assert json.loads(store.hget(names.INTAKE_RECORDS, "2") or "") == by_celery
    for name in ("task", "argsrepr", "kwargsrepr", names.INTAKE, "retries", "lang"):
        assert direct["headers"][name] == by_celery["headers"][name]
    assert direct["properties"]["delivery_info"] == by_celery["properties"]["delivery_info"]
    assert len(json.dumps(direct)) < len(json.dumps(by_celery))


def test_a_draft_measures_what_is_sent() -> None:
    draft = Draft("t", {"a": 1}, queue="q", limit_bytes=len('[["123"],{"a":1}]'))
    assert json.loads(draft.message(["123"]).payload) == [["123"], {"a": 1}]
    with pytest.raises(PayloadTooLargeError):
        draft.message(["1234"])
    assert draft.message([""]).id != draft.message([""]).id
    assert draft.message([""], "mine").id == "mine"
