from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import current_task, signals
from kombu import Connection, Queue

from celery_agents import names
from celery_agents.client.client import Client
from celery_agents.client.run import Run
from celery_agents.errors import IdInUseError, InvalidPayloadError, PayloadTooLargeError
from celery_agents.transport import Channel
from celery_agents.wire.messages import Draft, fingerprint
from celery_agents.wire.sending import BATCH


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


def drafted(args: list[Any], run_id: str | None = None, **kwargs: Any) -> Any:
    return Draft("t", kwargs, queue="q", limit_bytes=1_000).message(args, run_id)


@pytest.mark.parametrize(
    ("args", "kwargs", "same"),
    [
        ([{"a": 1, "b": 2}], {"x": 1, "y": 2}, True),
        ([{"b": 2, "a": 1}], {"y": 2, "x": 1}, True),
        ([{"a": 1, "b": 2}], {"x": 1, "y": 2, "stream": True}, True),  # watched otherwise
        ([{"a": 1, "b": 3}], {"x": 1, "y": 2}, False),
        ([{"a": True, "b": 2}], {"x": 1, "y": 2}, False),
        ([{"a": 1.0, "b": 2}], {"x": 1, "y": 2}, False),
        ([{"a": 1, "b": 2}], {"x": 2, "y": 1}, False),
        ([{"a": 1, "b": 2}, None], {"x": 1, "y": 2}, False),
        ([[{"a": 1, "b": 2}]], {"x": 1, "y": 2}, False),
    ],
)
def test_a_fingerprint_is_of_the_payload(args: Any, kwargs: Any, same: bool) -> None:
    """In whichever order; as the worker makes it of a row."""
    first = drafted([{"a": 1, "b": 2}], "id", x=1, y=2)
    assert (drafted(args, "id", **kwargs).fingerprint == first.fingerprint) is same
    assert (fingerprint("t", args, kwargs) in first.known_as) is same
    assert fingerprint("other", args, kwargs) not in first.known_as


def test_a_stream_is_sent_though_it_is_no_part_of_the_fingerprint() -> None:
    watched = drafted(["x"], stream=True)
    assert json.loads(watched.payload)[1] == {"stream": True}
    assert watched.fingerprint == drafted(["x"]).fingerprint in drafted(["x"], "id").known_as


def test_only_a_chosen_id_costs_the_sorting() -> None:
    chosen, given = drafted([{"b": 1, "a": 2}], "id"), drafted([{"b": 1, "a": 2}])
    assert given.known_as is None
    assert given.fingerprint in chosen.known_as
    assert len(chosen.known_as) == 2


def test_a_message_tells_its_fingerprint_and_a_signature_does_not(
    client: Client, store: redis.Redis
) -> None:
    """What a chain puts before a signature's arguments is not known yet."""
    (run,) = client.ask.many("a", [1])
    (message,) = queued(store)
    assert message["headers"][names.PAYLOAD] == run.message.fingerprint  # type: ignore[union-attr]
    assert names.PAYLOAD not in client.ask.s("a", 1).options["headers"]


@pytest.mark.parametrize("where", ["record", "result"])
def test_an_id_that_names_another_call(client: Client, store: redis.Redis, where: str) -> None:
    run = client.ask("a", {"x": 1, "y": 2}, id="chosen")
    if where == "result":
        asked = run.message.fingerprint  # type: ignore[union-attr]
        store.delete(names.INTAKE_RECORDS)
        meta = {"status": "SUCCESS", "result": 1, "task_id": "chosen", names.PAYLOAD: asked}
        store.set("celery-task-meta-chosen", json.dumps(meta))
    client.ask("a", {"y": 2, "x": 1}, id="chosen")
    before = store.llen("agents\x06\x165")
    for call in (client.ask, client.map):
        with pytest.raises(IdInUseError, match="chosen"):
            call("a", [1], id="chosen")
    assert store.llen("agents\x06\x165") == before


def test_a_result_of_another_call_is_not_this_ones(client: Client, store: redis.Redis) -> None:
    run = client.ask("a", 1, id="chosen")
    for asked, refused in (("another", True), (run.message.fingerprint, False), (None, False)):  # type: ignore[union-attr]
        meta = {"status": "SUCCESS", "result": 7, "task_id": "chosen", names.PAYLOAD: asked}
        store.set("celery-task-meta-chosen", json.dumps({k: v for k, v in meta.items() if v}))
        mine = Run(client.runs, "chosen", run.message)
        if not refused:
            assert mine.get(timeout=5) == 7
            continue
        looks: list[Callable[[Run], Any]] = [
            Run.outcome,
            lambda run: run.get(timeout=5),
            lambda run: asyncio.run(_await(run)),
        ]
        for look in looks:
            with pytest.raises(IdInUseError, match="chosen"):
                look(mine)
        (found,) = client.runs.collect([mine], timeout=5, return_exceptions=True)
        assert isinstance(found, IdInUseError)
        assert client.runs.handle("chosen").get(timeout=5) == 7  # whoever asks for the run gets it


async def _await(run: Run) -> Any:
    return await run


def test_a_result_that_kombu_cannot_read(client: Client, store: redis.Redis) -> None:
    """Of an older worker, or of somebody else: it spoils no others."""
    odd = {"__type__": "of_nobody_here", "__value__": 1}
    for run_id, value in (("a", odd), ("b", 2)):
        meta = {"status": "SUCCESS", "result": value, "task_id": run_id}
        store.set(f"celery-task-meta-{run_id}", json.dumps(meta))
    found, other = client.runs.collect(
        [client.runs.handle("a"), client.runs.handle("b")], timeout=5
    )
    assert other == 2
    assert found == odd or "__type__ and __value__" in repr(found)  # where a worker's app is loaded
