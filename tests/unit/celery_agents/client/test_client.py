from __future__ import annotations

import time
from typing import Any

import pytest
from celery import chain, group

from celery_agents import names
from celery_agents.client.client import Client
from celery_agents.contracts.fallback import Candidate
from celery_agents.contracts.policies import RetryPolicy
from celery_agents.contracts.vote import Voter
from celery_agents.errors import (
    BrokerUnavailableError,
    InvalidPayloadError,
    PayloadTooLargeError,
)
from tests.support.redis_server import RedisServer

NOWHERE = "redis://:hunter2@127.0.0.1:1/0"


@pytest.fixture
def client() -> Client:
    """One whose broker is away: nothing here needs it."""
    return Client(NOWHERE)


@pytest.mark.parametrize(
    ("make", "task", "args", "kwargs"),
    [
        (lambda c: c.ask.s("a", "x"), names.ASK, ("x",), {"agent": "a"}),
        (lambda c: c.ask.s("a"), names.ASK, (), {"agent": "a"}),
        (lambda c: c.ask.s("a", None), names.ASK, (None,), {"agent": "a"}),
        (
            lambda c: c.ask.s("a", 1, timeout_s=5, retry=RetryPolicy(max_attempts=2)),
            names.ASK,
            (1,),
            {"agent": "a", "timeout_s": 5.0, "retry": {"max_attempts": 2}},
        ),
        (
            lambda c: c.fallback.s(["a", Candidate(agent="b", priority=1)], "x"),
            names.FALLBACK,
            ("x",),
            {"candidates": [{"agent": "a"}, {"agent": "b", "priority": 1}]},
        ),
        (
            lambda c: c.map.s("a", (n for n in "xy"), wave=1),
            names.MAP,
            (["x", "y"],),
            {"agent": "a", "wave": 1},
        ),
        (lambda c: c.map.s("a"), names.MAP, (), {"agent": "a"}),
        (
            lambda c: c.vote.s(["a", Voter(agent="b", weight="1/2")], "x", rule="plurality"),
            names.VOTE,
            ("x",),
            {
                "voters": [{"agent": "a"}, {"agent": "b", "weight": "1/2"}],
                "rule": {"kind": "plurality"},
            },
        ),
    ],
)
def test_signatures(
    client: Client, make: Any, task: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    made = make(client)
    assert (made.task, tuple(made.args), made.kwargs) == (task, args, kwargs)
    assert made.options["queue"] == "agents"
    assert made.options["headers"] == {names.INTAKE: 1}
    assert not made.immutable


def test_signatures_make_canvases(client: Client) -> None:
    first = client.ask.s("planner", "x", priority=1)
    line = chain(first, client.vote.s(["a", "b"]), client.ask.s("writer"))
    assert [t.task for t in line.tasks] == [names.ASK, names.VOTE, names.ASK]
    assert first.options["priority"] == 1
    assert len(group(client.ask.s("a", n) for n in range(3)).tasks) == 3
    # A previous result is put before the arguments; the contract takes it as the input.
    assert line.tasks[1].clone(("result",)).args == ("result",)


def test_a_client_of_another_queue() -> None:
    assert Client(NOWHERE, queue="mine").ask.s("a", 1).options["queue"] == "mine"


def test_what_people_see_is_short_and_redacted(client: Client) -> None:
    options = client.ask.s("a", "token=abc " + "x" * 500, instructions="api_key: abc").options
    assert "abc" not in options["argsrepr"] + options["kwargsrepr"]
    assert len(options["argsrepr"]) < 100


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda c: c.ask("", 1), "agent: "),
        (lambda c: c.ask("a", 1, timeout_s=-1), "timeout_s: "),
        (lambda c: c.ask("a", 1, colour="red"), "colour: "),
        (lambda c: c.ask("a", object()), "input: "),
        (lambda c: c.ask("a", 1, choices=[]), "choices: "),
        (lambda c: c.ask("a", 1, retry={"max_attempts": 0}), "retry.max_attempts: "),
        (lambda c: c.ask.many("a", [1, {2}]), "input: "),
        (lambda c: c.ask.s("a", 1, 2), "one positional"),
        (lambda c: c.fallback([], 1), "candidates: "),
        (lambda c: c.fallback(["a"], 1, strategy="guess"), "strategy: "),
        (lambda c: c.map("a", [object()]), "input.0"),
        (lambda c: c.map("a", [1], on_failure="cry"), "on_failure: "),
        (lambda c: c.vote([], 1), "voters: "),
        (lambda c: c.vote(["a"], 1, rule="mood"), "rule: "),
        (lambda c: c.vote(["a"], 1, voter_timeout_s=0), "voter_timeout_s: "),
        (lambda c: c.ask("a\0", 1), "agent: A zero byte"),
        (lambda c: c.vote(["a", {"agent": "b", "name": "\ud83d"}], 1), "voters.1.name: Half"),
        (lambda c: c.ask("a", 1, choices=["x", "\0"]), "choices.1: A zero byte"),
        (lambda c: c.ask("a", 1, timeout_s=True), "timeout_s: "),
        (lambda c: c.ask("a", 1, retry={"max_attempts": "2"}), "retry.max_attempts: "),
        (lambda c: c.ask("a", 1, id=7), "id: "),
        (lambda c: c.ask("a", 1, id=""), "id: "),
        (lambda c: c.ask.s("a", 1, id="x" * 156), "id: .*155"),
        (lambda c: c.ask.many("a", [1, 2], id="x"), "One id"),
        (lambda c: c.vote(["a"], 1, priority=10), "priority: "),
        (lambda c: c.map("a", [1], priority="high"), "priority: "),
        (lambda c: c.gather(["a"], 1, priority=True), "priority: "),
        (lambda c: c.runs.handle("a\0"), "id: A zero byte"),
        (lambda c: c.runs.cancel(7), "id: "),
        (lambda c: list(c.runs.results("")), "id: "),
        (lambda c: c.runs.approve("a", float("nan")), "choice: NaN"),
        (lambda c: c.runs.approve("a\0", "x"), "id: "),
        (lambda c: c.dead_letters.drop("x" * 156), "id: "),
        (
            lambda c: c.vote(
                ["a"],
                1,
                weights={
                    "kind": "reliability",
                    "records": {"__type__": (1, 2), "__value__": (1, 2)},
                },
            ),
            "options: weights.records: an object of just",
        ),
    ],
)
def test_mistakes_show_at_the_call(client: Client, call: Any, told: str) -> None:
    """Before the broker is asked, which is away."""
    with pytest.raises(InvalidPayloadError, match=told):
        call(client)


def test_the_value_of_a_mistake_is_not_told(client: Client) -> None:
    with pytest.raises(InvalidPayloadError) as error:
        client.ask("a", 1, timeout_s="hunter2")  # type: ignore[call-overload]  # that is it
    assert "hunter2" not in str(error.value)


def test_a_large_payload_is_refused(client: Client) -> None:
    with pytest.raises(PayloadTooLargeError, match="limit is 262,144"):
        client.ask("a", "x" * 1_000_000)
    with pytest.raises(PayloadTooLargeError):
        client.ask("a", "ü" * 50_000)  # by what it is on the wire
    small = Client(NOWHERE, payload_limit_bytes=100)
    with pytest.raises(PayloadTooLargeError):
        small.ask.s("a", "x" * 100)


def test_a_map_of_too_much_says_what_to_do(client: Client) -> None:
    with pytest.raises(PayloadTooLargeError, match=r"limit is 262,144.*several maps"):
        client.map.s("a", ["x" * 1_000] * 300)


@pytest.mark.parametrize("many", [False, True])
def test_a_broker_that_is_down_is_told_in_time(client: Client, many: bool) -> None:
    start = time.monotonic()
    call = (lambda: client.ask.many("a", range(3))) if many else (lambda: client.ask("a", 1))
    with pytest.raises(BrokerUnavailableError, match=r"127\.0\.0\.1.*REDIS_URL") as error:
        call()
    assert time.monotonic() - start < 5 * 2  # on a busy machine
    assert "hunter2" not in str(error.value)


def test_a_wrong_password_is_told(broker: RedisServer) -> None:
    url = broker.database_url(0).replace("redis://:", "redis://:wrong")
    with pytest.raises(BrokerUnavailableError) as error:
        Client(url).ask("a", 1)
    assert "wrong" not in str(error.value).lower().replace("wrongpass", "")


def test_a_run_by_its_id(redis_url: str) -> None:
    with Client(redis_url) as client:
        run = client.ask("a", 1, id="mine")
        assert (run.id, client.runs.handle("mine").id, repr(run)) == ("mine", "mine", "<Run mine>")
        assert not run.ready()
        assert run.outcome() is None


def test_the_environment_names_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere/3")
    assert Client().celery.conf.broker_url == "redis://elsewhere/3"
    assert Client(NOWHERE).celery.conf.broker_url == NOWHERE
