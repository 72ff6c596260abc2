"""What comes in wrong, or meets something that is: one clear error each, and the worker goes on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Connection

from celery_agents import Client, RetryPolicy, State
from celery_agents.errors import (
    BadAnswerError,
    BrokerUnavailableError,
    InvalidPayloadError,
    MissingKeyError,
    ProviderRefusedError,
    ProviderUnavailableError,
    UnknownAgentError,
)
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import FAST, SOON_S, Stack, eventually
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.databases("sqlite")

TWICE = RetryPolicy(max_attempts=2, base_delay_s=0.05)


@pytest.fixture(autouse=True)
def goes_on(stack: Stack) -> Iterator[None]:
    """Whatever a test sends, the same worker answers the next question."""
    yield
    (worker,) = stack.workers
    assert worker.running
    assert stack.client.ask("shout", "still here").get(timeout=SOON_S) == "STILL HERE"


@pytest.fixture
def plain(stack: Stack) -> Iterator[Celery]:
    """A producer without our checks."""
    app = Celery("somebody", broker=stack.redis_url, backend=stack.redis_url)
    yield app
    app.close()


@pytest.fixture(scope="module")
def sturdy(
    shared_broker: RedisServer,
    _migrated_sqlite: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """A stack apart from the others, for messages that may end its worker."""
    directory = tmp_path_factory.mktemp("sturdy")
    shutil.copyfile(_migrated_sqlite, directory / "journal.db")
    url = f"sqlite:///{directory / 'journal.db'}"
    made = Stack(shared_broker.fresh_url(), url, directory, FAST)
    made.worker()
    yield made
    made.close()


class TestAgentName:
    def test_unknown(self, client: Client) -> None:
        with pytest.raises(UnknownAgentError, match=r"no agent 'nobody'.* It has: .*shout"):
            client.ask("nobody", "?").get(timeout=SOON_S)

    def test_unknown_among_others(self, client: Client) -> None:
        decision = client.vote(["yes", "yes", "nobody"], "?", stop="none").get(timeout=SOON_S)
        assert decision.option == "yes"
        assert decision.abstentions == {"failed": 1}


class TestPayload:
    @pytest.mark.parametrize(
        ("args", "kwargs", "complaint"),
        [
            ([1], {}, "agent: Field required"),
            ([1], {"agent": "noop", "colour": "red"}, "colour: Extra inputs"),
            ([1, 2], {"agent": "noop"}, "takes one positional argument"),
            ([1], {"agent": "noop", "input": 2}, "given twice"),
            ([1], {"agent": ["noop"]}, "agent: Input should be a valid string"),
            ([1], {"agent": "noop", "timeout_s": -1}, "timeout_s: Input should be greater"),
            ([1], {"agent": "noop", "retry": {"max_attempts": 0}}, r"retry\.max_attempts"),
            ([1], {"agent": ""}, "agent: String should have at least 1"),
        ],
    )
    def test_wrong_arguments(
        self, plain: Celery, stack: Stack, args: list[Any], kwargs: dict[str, Any], complaint: str
    ) -> None:
        sent = plain.send_task("agents.ask", args, kwargs, queue="agents")
        with pytest.raises(InvalidPayloadError, match=complaint):
            sent.get(timeout=SOON_S)
        assert stack.row(sent.id) is None

    def test_client_says_it_at_the_call(self, client: Client) -> None:
        with pytest.raises(InvalidPayloadError, match="colour"):
            client.ask("noop", 1, colour="red")  # type: ignore[call-overload]

    def test_value_is_not_repeated(self, plain: Celery) -> None:
        sent = plain.send_task(
            "agents.ask", [1], {"agent": "noop", "timeout_s": "my-secret-value"}, queue="agents"
        )
        with pytest.raises(InvalidPayloadError) as caught:
            sent.get(timeout=SOON_S)
        assert "my-secret-value" not in str(caught.value)

    def test_a_megabyte_from_a_plain_producer(self, plain: Celery, stack: Stack) -> None:
        sent = plain.send_task("agents.ask", ["x" * 1_000_000], {"agent": "noop"}, queue="agents")
        with pytest.raises(Exception, match="262,144") as caught:
            sent.get(timeout=SOON_S)
        assert type(caught.value).__name__ == "PayloadTooLargeError"
        assert stack.row(sent.id) is None


class TestMalformed:
    """Messages that no Celery producer writes; one worker meets them all."""

    @pytest.mark.parametrize(
        "body",
        [
            [["x"], ["not", "an", "object"], {}],
            "just a text",
            [1, 2],
            {"args": [], "kwargs": {}},
            [["x"], {"agent": "noop"}, "no embed"],
        ],
        ids=["kwargs", "text", "short", "object", "embed"],
    )
    def test_body(self, sturdy: Stack, body: Any) -> None:
        task_id = f"raw-{time.monotonic_ns()}"
        headers = {"lang": "py", "task": "agents.ask", "id": task_id}
        with Connection(sturdy.redis_url) as connection:
            queue = connection.SimpleQueue("agents")
            queue.put(body, headers=headers, serializer="json")
            queue.close()
        self._dropped(sturdy, task_id)

    @pytest.mark.parametrize(
        "envelope",
        [
            "no json at all",
            '{"body": "%%%", "headers": {}, "properties": {}}',
            (
                '{"body": "%%%", "content-encoding": "utf-8", "content-type": "application/json", '
                '"headers": {"lang": "py", "task": "agents.ask", "id": "raw-2"}, '
                '"properties": {"body_encoding": "base64", "delivery_tag": "t", "delivery_info": '
                '{"exchange": "", "routing_key": "agents"}}}'
            ),
        ],
        ids=["no-json", "no-properties", "bad-base64"],
    )
    def test_envelope(self, sturdy: Stack, envelope: str) -> None:
        sturdy.redis.lpush("agents", envelope)
        self._dropped(sturdy, "raw-2")

    def _dropped(self, stack: Stack, task_id: str) -> None:
        """It leaves the queue without running, and the worker answers the next question."""
        run = stack.client.ask("shout", "still here")
        assert run.get(timeout=10) == "STILL HERE"
        eventually(lambda: stack.depth() == 0 and not stack.unacked())
        assert stack.workers[0].running
        assert stack.row(task_id) is None


class TestProvider:
    def test_without_its_key(self, client: Client) -> None:
        run = client.ask("keyless", "?")
        with pytest.raises(MissingKeyError, match="NOBODYS_API_KEY is not set"):
            run.get(timeout=SOON_S)
        outcome = run.outcome()
        assert outcome is not None
        assert outcome.attempts == 1

    def test_down(self, client: Client, stack: Stack) -> None:
        run = client.ask("down", "?", retry=TWICE)
        with pytest.raises(ProviderUnavailableError, match=r"not available|Connection"):
            run.get(timeout=SOON_S)
        outcome = run.outcome()
        assert outcome is not None
        assert (outcome.state, outcome.attempts) == (State.FAILED, 2)
        assert len(stack.events(run.id, "retry")) == 1

    @pytest.mark.parametrize("agent", ["gpt", "claude", "gemini"])
    def test_talks_nonsense(self, client: Client, model: ModelServer, agent: str) -> None:
        model.script(Does(raw=b"<html>busy</html>", headers={"Content-Type": "text/html"}))
        run = client.ask(agent, "?", retry=TWICE)
        with pytest.raises(BadAnswerError):
            run.get(timeout=SOON_S)
        assert len(model.requests) == 2

    def test_answers_outside_the_choices(self, client: Client, model: ModelServer) -> None:
        model.script(Does(json={"option": "maybe"}))
        run = client.ask("gpt", "?", choices=["yes", "no"], retry=TWICE)
        with pytest.raises(BadAnswerError):
            run.get(timeout=SOON_S)

    def test_refuses_the_key(self, client: Client, model: ModelServer) -> None:
        model.script(Does(status=401, text="bad key"))
        run = client.ask("gpt", "?", retry=TWICE)
        with pytest.raises(ProviderRefusedError, match="bad key"):
            run.get(timeout=SOON_S)
        assert len(model.requests) == 1


class TestRedisAway:
    def test_client_says_so_in_time(self) -> None:
        with Client(f"redis://:pass-word-1@127.0.0.1:{free_port()}/0") as client:
            begin = time.monotonic()
            with pytest.raises(BrokerUnavailableError, match="REDIS_URL") as caught:
                client.ask("shout", "x")
            assert time.monotonic() - begin < 10
        assert "pass-word-1" not in str(caught.value)

    def test_client_does_not_hang_on_a_frozen_one(self, own_broker: RedisServer) -> None:
        with Client(own_broker.url, redis_timeout_s=1.0) as client:
            own_broker.pause()
            begin = time.monotonic()
            with pytest.raises(BrokerUnavailableError):
                client.ask("shout", "x")
            assert time.monotonic() - begin < 20

    def test_worker_waits_for_it(
        self, own_broker: RedisServer, sqlite_journal_url: str, tmp_path: Path
    ) -> None:
        url = own_broker.url
        own_broker.stop()
        waiting = Stack(url, sqlite_journal_url, tmp_path)
        try:
            worker = waiting.worker(ready=False)
            worker.wait_for_log("Cannot connect to", timeout_s=15)
            assert own_broker.password not in worker.logs()
            own_broker.start()
            worker.wait_ready()
            assert waiting.client.ask("shout", "x").get(timeout=SOON_S) == "X"
        finally:
            waiting.close()
