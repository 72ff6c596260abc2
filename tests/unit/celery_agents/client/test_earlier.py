"""Each earlier name gives what the present one gives."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
import redis

from celery_agents import Aggregate, AggregateRun, Client, MapRun, Run
from celery_agents.client.connection import Connection
from celery_agents.client.dead_letters import DeadLetters
from celery_agents.client.earlier import EarlierNames
from celery_agents.client.runs import Runs
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.errors import AgentFailedError, AgentsError, IdInUseError, InvalidPayloadError
from celery_agents.wire import messages
from tests.support.redis_server import RedisServer
from tests.support.stored_results import worker_says

Call = Callable[[Client], Any]
NOWHERE = "redis://127.0.0.1:1"
DONE = Outcome(state=State.SUCCEEDED, value=1)
PAGE = {"outcomes": [[0, DONE.compact()]], "more": None}

#: An earlier call, the present one, and what a worker answers to its question, if it asks one.
ASKED: list[tuple[Call, Call, Any]] = [
    (lambda c: c.status("r"), lambda c: c.runs.status("r"), {"steps": [1]}),
    (lambda c: c.status("r", timeout=5.0), lambda c: c.runs.status("r", timeout=5.0), None),
    (lambda c: c.known("r"), lambda c: c.runs.known("r"), {"steps": []}),
    (lambda c: c.known("r", timeout=5.0), lambda c: c.runs.known("r", timeout=5.0), None),
    (lambda c: [*c.results("r")], lambda c: [*c.runs.results("r")], PAGE),
    (lambda c: [*c.results("r", timeout=5)], lambda c: [*c.runs.results("r", timeout=5)], PAGE),
    (lambda c: c.approve("r", "yes"), lambda c: c.runs.approve("r", "yes"), None),
    (lambda c: c.cancel("r"), lambda c: c.runs.cancel("r"), None),
    (lambda c: c.dead_letters(), lambda c: c.dead_letters.list(), [{"id": "l"}]),
    (lambda c: c.dead_letters(limit=3), lambda c: c.dead_letters.list(3), []),
    (lambda c: c.dead_letters(3, timeout=5), lambda c: c.dead_letters.list(3, timeout=5), []),
    (lambda c: c.dead_letter("l"), lambda c: c.dead_letters.get("l"), {"id": "l"}),
    (lambda c: c.dead_letter("l", timeout=5), lambda c: c.dead_letters.get("l", timeout=5), None),
    (lambda c: c.requeue("l"), lambda c: c.dead_letters.requeue("l"), None),
    (lambda c: c.drop("l"), lambda c: c.dead_letters.drop("l"), True),
    (lambda c: c.drop("l", timeout=5), lambda c: c.dead_letters.drop("l", timeout=5), False),
    # A worker's error, and a mistake at the call, are the same too.
    (lambda c: c.requeue("l"), lambda c: c.dead_letters.requeue("l"), InvalidPayloadError("none")),
    (lambda c: c.drop("x" * 156), lambda c: c.dead_letters.drop("x" * 156), True),
    (lambda c: c.approve("a", float("nan")), lambda c: c.runs.approve("a", float("nan")), None),
]
#: The same of what is read: runs "good" and "bad" have ended.
READ: list[tuple[Call, Call]] = [
    (lambda c: Run(c, "good").get(1), lambda c: c.runs.handle("good").get(1)),
    (lambda c: Run(c, "bad").outcome(), lambda c: c.runs.handle("bad").outcome()),
    (
        lambda c: [run.id for run in c.as_completed([c.runs.handle("good")], timeout=1)],
        lambda c: [run.id for run in c.runs.as_completed([c.runs.handle("good")], timeout=1)],
    ),
    (
        lambda c: c.collect([c.runs.handle("good")]),
        lambda c: c.runs.collect([c.runs.handle("good")]),
    ),
    (
        lambda c: c.collect([c.runs.handle("good"), c.runs.handle("bad")], timeout=1),
        lambda c: c.runs.collect([c.runs.handle("good"), c.runs.handle("bad")], timeout=1),
    ),
    (
        lambda c: told(c.collect([c.runs.handle("bad")], return_exceptions=True)[0]),
        lambda c: told(c.runs.collect([c.runs.handle("bad")], return_exceptions=True)[0]),
    ),
]
#: Where each is now.
PRESENT: dict[str, Callable[..., Any]] = {
    "as_completed": Runs.as_completed,
    "collect": Runs.collect,
    "status": Runs.status,
    "known": Runs.known,
    "results": Runs.results,
    "cancel": Runs.cancel,
    "approve": Runs.approve,
    "dead_letter": DeadLetters.get,
    "requeue": DeadLetters.requeue,
    "drop": DeadLetters.drop,
    "draft": Connection.draft,
    "refuse_other": Connection.refuse_other,
}


def told(error: Any) -> tuple[type, str]:
    return type(error), str(error)


def given(call: Call, client: Client) -> Any:
    """What a call gives, or raises."""
    try:
        return call(client)
    except AgentsError as error:
        return told(error)


@pytest.fixture
def fresh(
    redis_url: str, broker: RedisServer, redis_database: int, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], tuple[Client, redis.Redis]]]:
    """Makes clients that all begin alike: with an empty Redis, and ids q0, q1, …"""
    with Client(redis_url) as client, broker.client(redis_database) as store:

        def begin() -> tuple[Client, redis.Redis]:
            store.flushdb()
            numbers = count()
            monkeypatch.setattr(messages, "new_id", lambda: f"q{next(numbers)}")
            worker_says(client, "good", 42, DONE)
            worker_says(client, "bad", AgentFailedError("no"), None)
            return client, store

        yield begin


def seen(store: Any) -> list[bytes]:
    """The messages that the workers were sent."""
    queue: list[bytes] = store.lrange("agents.control\x06\x165", 0, -1)
    return queue


@pytest.mark.parametrize(("earlier", "present", "answer"), ASKED)
def test_each_asks_and_gives_the_same(
    fresh: Callable[[], tuple[Client, redis.Redis]], *, earlier: Call, present: Call, answer: Any
) -> None:
    found = []
    for call in (earlier, present):
        client, store = fresh()
        worker_says(client, "q0", answer)
        found.append((given(call, client), [tasks(raw) for raw in seen(store)]))
    assert found[0] == found[1]


def tasks(raw: bytes) -> tuple[Any, ...]:
    """What of a message does not depend on the moment when it was sent."""
    sent = json.loads(raw)
    return sent["headers"]["task"], sent["headers"]["id"], sent["body"]


@pytest.mark.parametrize(("earlier", "present"), READ)
def test_each_reads_the_same(
    fresh: Callable[[], tuple[Client, redis.Redis]], earlier: Call, present: Call
) -> None:
    assert given(earlier, fresh()[0]) == given(present, fresh()[0]) != []


def bound(function: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    """Names, kinds and defaults of its parameters."""
    found = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in found]


@pytest.mark.parametrize("name", PRESENT)
def test_each_takes_the_same(name: str) -> None:
    earlier = bound(getattr(EarlierNames, name))
    assert earlier == bound(PRESENT[name])[: len(earlier)]  # a later one may take more


def test_the_table_has_them_all() -> None:
    named = {name for name, value in vars(EarlierNames).items() if inspect.isfunction(value)}
    assert named == PRESENT.keys()
    assert bound(DeadLetters.__call__) == bound(DeadLetters.list)


def test_settings_are_shown() -> None:
    with Client(NOWHERE, payload_limit_bytes=9, ballots_max=7, queue="q") as client:
        assert (client.payload_limit_bytes, client.ballots_max, client.queue) == (9, 7, "q")
        assert client.address.broker_url == client.celery.conf.broker_url


def test_runs_of_a_kind_are_made_with_a_client(
    fresh: Callable[[], tuple[Client, redis.Redis]],
) -> None:
    client, _ = fresh()
    worker_says(client, "g", {"value": 3, "used": ["a"]})
    assert AggregateRun(client, "g").get(1) == client.runs.handle("g", Aggregate).get(1)
    worker_says(client, "q0", PAGE)
    assert [*MapRun(client, "m").results()] == [(0, DONE)]


def test_an_id_of_another_call_is_refused(
    fresh: Callable[[], tuple[Client, redis.Redis]],
) -> None:
    client, _ = fresh()
    client.ask("a", 1, id="mine")
    draft = client.draft("agents.ask", {"agent": "a"})
    client.refuse_other(draft.message([1], "mine"))
    with pytest.raises(IdInUseError):
        client.refuse_other(draft.message([2], "mine"))
