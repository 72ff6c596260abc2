"""The Python that a plain step costs its client, counted: on any machine it is the same."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import pytest
import redis
from celery import chain, signals

from celery_agents import Client, names
from celery_agents.client.run import Run
from celery_agents.errors import InvalidPayloadError, PayloadTooLargeError
from celery_agents.transport import kombu_json

#: Steps of the smaller and of the larger count: what differs is what each step costs.
FEW, MANY = 100, 400
#: What a worker stores beside a plain result.
STORED: dict[str, Any] = {
    "status": "SUCCESS",
    "traceback": None,
    "children": [],
    "date_done": "2026-11-30T09:00",
}
OUTCOME = {"state": "succeeded", "attempts": 1, "took_s": 0.1, "usage": {"calls": 1}}


def calls(work: Callable[[], Any]) -> int:
    """Calls of functions that are written in Python, in this thread."""
    count = 0

    def counts(_: FrameType, event: str, __: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(counts)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def each(work: Callable[[int], Any]) -> float:
    """Calls for each of many, without what is done once."""
    work(2)  # connections are open
    return (calls(lambda: work(MANY)) - calls(lambda: work(FEW))) / (MANY - FEW)


def store_results(store: redis.Redis, runs: Sequence[Run[Any]]) -> None:
    """Store the result of each, as a worker does."""
    with store.pipeline(transaction=False) as pipe:
        for number, run in enumerate(runs):
            about = {"task_id": run.id, "result": number, "outcome": OUTCOME}
            told = {names.PAYLOAD: run.message.fingerprint}  # type: ignore[union-attr]
            pipe.set(f"celery-task-meta-{run.id}", kombu_json({**STORED, **about, **told}))
        pipe.execute()


def test_a_step_that_is_sent_with_others(client: Client) -> None:
    assert each(lambda count: client.ask.many("noop", range(count))) < 45  # 34


def test_a_chain_of_three(client: Client) -> None:
    """Most of it is Celery's canvas."""
    ask = client.ask.s

    def chains(count: int) -> None:
        client.publish(chain(ask("a", n), ask("a"), ask("a")) for n in range(count))

    assert each(chains) < 460  # 422


def test_a_step_that_is_sent_alone(client: Client, redis_url: str) -> None:
    """Beside what it costs to write four commands: kombu's and redis-py's part is the larger."""

    def ask(count: int) -> None:
        for number in range(count):
            client.ask("noop", number)

    def publish(count: int) -> None:
        for _ in range(count):
            client.publish([message])

    message = client.ask("noop", 0).message
    assert message is not None
    assert each(ask) - each(publish) < 50  # 41


def test_a_result_that_is_read_with_others(client: Client, store: redis.Redis) -> None:
    runs = client.ask.many("noop", range(2 + FEW + MANY))
    store_results(store, runs)
    read = iter(runs)

    def collect(count: int) -> None:
        assert len(client.runs.collect([next(read) for _ in range(count)], timeout=20)) == count

    assert each(collect) < 40  # 28


def test_a_result_that_was_read_costs_no_handle_of_celerys(
    client: Client, store: redis.Redis
) -> None:
    (run,) = client.ask.many("noop", [1])
    store_results(store, [run])
    assert client.runs.collect([run], timeout=20) == [0]
    assert "result" not in vars(run)
    assert run.result.get(timeout=0) == run.result.result == 0  # one that is made then knows it
    assert run.known
    assert run.ready()


def test_a_result_of_a_handle_that_was_made_is_read_too(client: Client, store: redis.Redis) -> None:
    (run,) = client.ask.many("noop", [1])
    assert not run.result.ready()
    store_results(store, [run])
    assert client.runs.collect([run], timeout=20) == [0]
    assert run.result._cache is not None
    assert run.get(timeout=0) == 0
    run.forget()
    assert not run.known
    assert not run.ready()


@pytest.mark.parametrize("alike", [True, False])
def test_messages_of_one_write_say_what_each_alone_says(
    client: Client, store: redis.Redis, alike: bool
) -> None:
    """But for what each has of its own, whatever the ones before it were."""
    asked: list[dict[str, Any]] = [{}, {"timeout_s": 3}, {"priority": 2}, {"tenant": "t"}]
    messages = [
        client.ask.many("noop", range(2), **({} if alike else options))[1].message
        for options in asked
    ]
    assert all(message is not None for message in messages)

    def sent() -> list[Any]:
        told = [json.loads(raw) for raw in store.hgetall(names.INTAKE_RECORDS).values()]
        store.flushdb()
        for one in told:
            del one["properties"]["delivery_tag"]
        return sorted(told, key=lambda one: str(one["headers"]["id"]))

    store.flushdb()
    client.publish([message for message in messages if message is not None])
    together = sent()
    for message in messages:
        client.publish([message] if message is not None else [])
    assert together == sent()
    assert len(together) == len(asked)


class TestKeptDrafts:
    """Options that were right once are not checked again; inputs are, and each call is its own."""

    def test_options_that_look_alike_are_told_apart(self, client: Client) -> None:
        def told(**options: Any) -> Any:
            return client.ask("noop", 1, **options).message.kwargs  # type: ignore[union-attr]

        for _ in range(2):
            assert told() == {"agent": "noop"}
            assert told(timeout_s=2) == {"agent": "noop", "timeout_s": 2.0}
            assert told(stream=True) == {"agent": "noop", "stream": True}
            with pytest.raises(InvalidPayloadError, match="stream"):
                told(stream=1)
            with pytest.raises(InvalidPayloadError, match="max_depth"):
                told(max_depth=True)
            assert told(max_depth=1) == {"agent": "noop", "max_depth": 1}
        assert client.ask("other", 1).message.kwargs == {"agent": "other"}  # type: ignore[union-attr]

    def test_what_travels_beside_them_is_that_of_the_call(
        self, client: Client, store: redis.Redis
    ) -> None:
        for _ in range(2):
            asked: list[dict[str, Any]] = [{}, {"priority": 3}, {"tenant": "a"}]
            for number, options in enumerate(asked):
                message: Any = client.ask("noop", number, **options).message
                assert (message.args, message.priority) == ([number], options.get("priority", 5))
                assert message.tenant == options.get("tenant", "")

    def test_inputs_are_checked(self, client: Client) -> None:
        client.ask("noop", 1)
        with pytest.raises(InvalidPayloadError, match="input"):
            client.ask("noop", float("nan"))
        with pytest.raises(PayloadTooLargeError):
            client.ask("noop", "x" * 300_000)

    def test_signatures_without_an_input_are_checked(self, client: Client) -> None:
        for _ in range(2):
            assert client.ask.s("noop").args == ()
            assert client.ask.s("noop", None).args == (None,)
            with pytest.raises(InvalidPayloadError, match="one positional argument"):
                client.ask.s("noop", 1, 2)
            with pytest.raises(InvalidPayloadError, match="input"):
                client.ask.s("noop", float("inf"))
        assert len(client.ask._drafts) == 1

    def test_a_signature_can_be_changed(self, client: Client) -> None:
        first = client.ask.s("noop", 1)
        first.kwargs["agent"] = "other"
        assert client.ask.s("noop", 1).kwargs == {"agent": "noop"}
        assert client.ask("noop", 1).message.kwargs == {"agent": "noop"}  # type: ignore[union-attr]

    def test_what_a_hook_changes_is_that_messages_alone(
        self, client: Client, store: redis.Redis
    ) -> None:
        client.ask("noop", 1)

        def change(body: Any, **_: Any) -> None:
            body[1]["stream"] = True

        signals.before_task_publish.connect(change)
        try:
            client.ask("noop", 1)
        finally:
            signals.before_task_publish.disconnect(change)
        store.flushdb()
        client.ask("noop", 1)
        (raw,) = store.hgetall(names.INTAKE_RECORDS).values()
        assert json.loads(json.loads(raw)["body"])[1] == {"agent": "noop"}

    def test_few_are_kept(self, client: Client) -> None:
        for number in range(300):
            client.ask.s("noop", 1, timeout_s=float(number + 1))
        client.ask.s("noop", 1, instructions="x" * 10_000)
        kept = client.ask._drafts
        assert 0 < len(kept) <= 128
        assert all(draft.size <= 2_000 for draft in kept.values())
