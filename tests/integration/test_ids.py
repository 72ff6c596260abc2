"""An id names one call: the same again is the same run, another one is an error that says so."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from celery_agents import Client
from celery_agents.errors import IdInUseError, InvalidPayloadError
from tests.integration.harness import SOON_S, Stack, eventually, lines

pytestmark = pytest.mark.databases("sqlite")


def forget(stack: Stack, run_id: str) -> None:
    """As results do after a day."""
    stack.redis.delete(f"celery-task-meta-{run_id}")


def new_id() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def plain(stack: Stack) -> Iterator[Celery]:
    """A producer without our checks."""
    app = Celery("somebody", broker=stack.redis_url, backend=stack.redis_url)
    yield app
    app.close()


#: Another call in some respect than ``ask("noop", {"a": 1, "b": 2})``.
OTHERS: dict[str, Any] = {
    "input": lambda c, i: c.ask("noop", {"a": 1, "b": 3}, id=i),
    "type of input": lambda c, i: c.ask("noop", {"a": True, "b": 2}, id=i),
    "agent": lambda c, i: c.ask("shout", {"a": 1, "b": 2}, id=i),
    "option": lambda c, i: c.ask("noop", {"a": 1, "b": 2}, id=i, instructions="x"),
    "verb": lambda c, i: c.vote(["yes"], {"a": 1, "b": 2}, id=i),
    "map of one": lambda c, i: c.map("noop", [{"a": 1, "b": 2}], id=i),
}


def first(client: Client, run_id: str | None = None, *, stream: bool = False) -> Any:
    return client.ask("noop", {"a": 1, "b": 2}, id=run_id, stream=stream)


class TestSame:
    def test_again(self, client: Client, stack: Stack, tmp_path: Path) -> None:
        run_id, counted = new_id(), tmp_path / "counted"
        order: dict[str, Any] = {"path": str(counted), "value": 7}
        for again in (order, dict(reversed(order.items()))):  # keys have no order
            for _ in range(2):
                assert client.ask("count", again, id=run_id).get(timeout=SOON_S) == 7
        forget(stack, run_id)
        assert client.ask("count", order, id=uuid.UUID(run_id)).get(timeout=SOON_S) == 7
        assert len(lines(counted)) == 1

    def test_of_a_run_that_got_its_id(self, client: Client) -> None:
        run = first(client)
        assert run.get(timeout=SOON_S) == {"a": 1, "b": 2}
        assert first(client, run.id).get(timeout=SOON_S) == {"a": 1, "b": 2}

    def test_by_a_plain_producer(self, client: Client, plain: Celery) -> None:
        run_id = new_id()
        args, kwargs = [{"b": 2, "a": 1}], {"agent": "noop"}
        sent = plain.send_task("agents.ask", args, kwargs, queue="agents", task_id=run_id)
        assert sent.get(timeout=SOON_S) == {"a": 1, "b": 2}
        assert first(client, run_id).get(timeout=SOON_S) == {"a": 1, "b": 2}

    def test_cancelled_before_it_came(self, client: Client, stack: Stack) -> None:
        run_id = new_id()
        client.runs.cancel(run_id)
        eventually(lambda: stack.state(run_id) == "cancelled")
        with pytest.raises(Exception, match="cancelled"):
            first(client, run_id).get(timeout=SOON_S)


def test_the_same_watched_otherwise_is_the_same_run(client: Client, stack: Stack) -> None:
    """While Redis knows of the first one, and from its row."""
    run = first(client)
    assert run.get(timeout=SOON_S) == {"a": 1, "b": 2}
    assert first(client, run.id, stream=True).get(timeout=SOON_S) == {"a": 1, "b": 2}
    eventually(lambda: stack.row(run.id).settled)
    forget(stack, run.id)
    assert first(client, run.id, stream=True).get(timeout=SOON_S) == {"a": 1, "b": 2}
    assert stack.row(run.id).attempts == 1


class TestOther:
    @pytest.mark.parametrize("what", OTHERS)
    def test_at_the_call(self, client: Client, stack: Stack, what: str) -> None:
        for run in (first(client, new_id()), first(client)):
            assert run.get(timeout=SOON_S) == {"a": 1, "b": 2}
            with pytest.raises(IdInUseError, match=run.id):
                OTHERS[what](client, run.id)
            assert client.runs.handle(run.id).get(timeout=SOON_S) == {"a": 1, "b": 2}

    @pytest.mark.parametrize("what", OTHERS)
    def test_when_redis_has_forgotten(self, client: Client, stack: Stack, what: str) -> None:
        run = first(client)
        run.get(timeout=SOON_S)
        eventually(lambda: stack.row(run.id).settled)
        forget(stack, run.id)
        with pytest.raises(IdInUseError, match=run.id):
            OTHERS[what](client, run.id).get(timeout=SOON_S)
        assert stack.row(run.id).outcome["value"] == {"a": 1, "b": 2}

    def test_while_it_runs(self, client: Client, tmp_path: Path) -> None:
        run_id = new_id()
        order: dict[str, Any] = {"path": str(tmp_path / "slow"), "seconds": 2, "value": 1}
        run = client.ask("slow", order, id=run_id)
        with pytest.raises(IdInUseError):
            client.ask("slow", {**order, "value": 2}, id=run_id)
        assert run.get(timeout=SOON_S) == 1

    def test_while_it_waits_for_members(self, client: Client, stack: Stack, tmp_path: Path) -> None:
        """Nothing in Redis knows of it then; its end tells."""
        seen, path = tmp_path / "seen", str(tmp_path / "slow")
        order: dict[str, Any] = {"path": path, "after": str(seen), "value": 1}
        run = client.fallback(["slow"], order)
        eventually(lambda: stack.state(run.id) == "waiting" and not stack.recorded(run.id))
        other = client.fallback(["slow"], {**order, "value": 2}, id=run.id)
        seen.touch()
        with pytest.raises(IdInUseError):
            other.get(timeout=SOON_S)
        with pytest.raises(IdInUseError):
            other.outcome()
        assert run.get(timeout=SOON_S) == 1
        assert lines(tmp_path / "slow") == ["begin", "end"]

    def test_while_it_waits_to_be_tried_again(self, client: Client, stack: Stack) -> None:
        """The other's message would be as good as its own to claim the row."""
        order: dict[str, Any] = {"until": 2, "retry_after_s": 3}
        run = client.ask("flaky", order)
        eventually(lambda: stack.events(run.id, "retry"))
        eventually(lambda: not stack.recorded(run.id))
        with pytest.raises(IdInUseError):
            client.ask("flaky", {"until": 1}, id=run.id).get(timeout=SOON_S)
        assert run.get(timeout=SOON_S) == "attempt 2"

    def test_what_follows_it_does_not_follow(
        self, client: Client, stack: Stack, plain: Celery, tmp_path: Path
    ) -> None:
        run, counted = first(client), tmp_path / "counted"
        run.get(timeout=SOON_S)
        follows = plain.signature(
            "agents.ask", [{"path": str(counted)}], {"agent": "count"}, queue="agents",
            immutable=True,
        )  # fmt: skip
        plain.send_task(
            "agents.ask", [1], {"agent": "noop"}, queue="agents", task_id=run.id, link=follows
        )
        (ours,) = stack.workers
        ours.wait_for_log(f"{run.id} names another call")
        eventually(lambda: not stack.depth() and not stack.unacked())
        assert client.runs.handle(run.id).get(timeout=SOON_S) == {"a": 1, "b": 2}
        assert lines(counted) == []

    def test_by_a_plain_producer(self, client: Client, stack: Stack, plain: Celery) -> None:
        """It hears of it where no result stands; one that does is not taken from its owner."""
        run = first(client)
        run.get(timeout=SOON_S)
        eventually(lambda: stack.row(run.id).settled)
        forget(stack, run.id)
        sent = plain.send_task("agents.ask", [1], {"agent": "noop"}, queue="agents", task_id=run.id)
        with pytest.raises(IdInUseError):
            sent.get(timeout=SOON_S)

    def test_one_id_for_many(self, client: Client) -> None:
        with pytest.raises(InvalidPayloadError, match="One id"):
            client.ask.many("noop", [1, 2], id=new_id())
        (run,) = client.ask.many("noop", [1], id=new_id())
        assert run.get(timeout=SOON_S) == 1
