"""Messages that nobody can run, sent to a real worker; and what people do with the letters."""

from __future__ import annotations

import base64
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from celery import Celery
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import func, insert, select

from app.journal.schema.engine import now
from app.journal.schema.models import DeadLetter, Run, Step
from celery_agents import names
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import InvalidPayloadError, StepDeadError
from celery_agents.wire.cancelling import EXCHANGE
from tests.integration.harness import SOON_S, Stack, celery, eventually
from tests.support.malformed import KINDS, LIMIT_BYTES, envelope
from tests.support.service import APP

pytestmark = pytest.mark.databases("sqlite")

QUEUE = "agents"
EACH = 25  # of a kind


def _bytes(made: object) -> bytes:
    return json.dumps(made).encode()


@pytest.fixture
def small(fast: Stack) -> Stack:
    """A stack whose messages may have 64 KiB."""
    fast.env["AGENTS_MESSAGE_LIMIT_BYTES"] = str(LIMIT_BYTES)
    return fast


@pytest.fixture
def plain(fast: Stack) -> Iterator[Celery]:
    """A producer without our checks."""
    app = Celery("somebody", broker=fast.redis_url, backend=fast.redis_url)
    yield app
    app.close()


def causes(stack: Stack) -> Counter[str]:
    query = select(DeadLetter.cause, func.count()).group_by(DeadLetter.cause)
    return Counter(dict(stack.read(lambda c: c.execute(query).all())))


def the_letter(stack: Stack) -> dict[str, Any]:
    (letter,) = eventually(stack.client.dead_letters.list)
    return letter


def kill_step(stack: Stack, step_id: str) -> None:
    """A root that used its attempts up, as recovery leaves it."""
    error = ErrorInfo.of(StepDeadError("Given up: password=hunter2"))
    outcome = Outcome(state=State.DEAD, error=error, attempts=3)
    row = {
        "id": step_id,
        "run_id": step_id,
        "task": names.ASK,
        "agent": "shout",
        "queue": QUEUE,
        "state": State.DEAD,
        "payload": {"args": ["hello"], "kwargs": {"agent": "shout"}},
        "attempts": 3,
        "max_attempts": 3,
        "ready_at": 0.0,
        "wake_at": 0.0,
        "outcome": outcome.compact(),
        "settled": True,
        "created_at": now(),
        "finished_at": now(),
    }
    with stack.engine.begin() as c:
        c.execute(insert(Step).values(row))
        c.execute(
            insert(Run).values(id=step_id, task=names.ASK, state=State.DEAD, created_at=now())
        )


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_every_kind_is_a_letter_and_the_worker_lives(small: Stack, pool: str) -> None:
    worker = small.worker(["--pool", pool, "--concurrency", "2", "-Q", "agents,agents.control"])
    pid = worker.pid
    rng = random.Random(20)
    bad = [make(rng) for make, _ in KINDS.values() for _ in range(EACH)]
    rng.shuffle(bad)
    runs = []
    for start in range(0, len(bad), 50):  # ordinary work goes on between them
        small.redis.lpush(QUEUE, *bad[start : start + 50])
        runs.append(small.client.ask("shout", f"run {start}"))
    for run in runs:
        assert run.get(timeout=SOON_S).startswith("RUN")
    wanted = Counter(cause for _, cause in KINDS.values() for _ in range(EACH))
    eventually(lambda: causes(small).total() == wanted.total(), timeout_s=60)
    assert causes(small) == wanted
    assert worker.running
    assert worker.pid == pid
    eventually(lambda: small.unacked() == small.depth() == 0)
    eventually(lambda: small.redis.hlen(names.DEAD) == 0)
    reasons = {d["reason"] for d in small.client.dead_letters.list(1000)}
    assert all(reasons)


def test_fuzz(small: Stack) -> None:
    """Whatever bytes come: the worker's pid is the same, and it answers the next question."""
    worker = small.worker()
    pid, sent = worker.pid, 0

    @hypothesis_settings(
        max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(
        st.binary(min_size=1, max_size=500)
        | st.dictionaries(
            st.sampled_from(["headers", "properties", "body", "content-type", "x"]),
            st.none() | st.integers() | st.text() | st.dictionaries(st.text(), st.integers()),
        ).map(_bytes)
    )
    def send(raw: bytes) -> None:
        nonlocal sent
        sent += 1
        small.redis.lpush(QUEUE, raw)

    send()
    eventually(lambda: causes(small).total() == sent, timeout_s=60)
    assert small.client.ask("shout", "still here").get(timeout=SOON_S) == "STILL HERE"
    assert worker.running
    assert worker.pid == pid


def test_broadcasts_too(fast: Stack) -> None:
    worker = fast.worker()
    database = fast.redis_url.rpartition("/")[2]
    bad = ("junk", "{}", "[]", '{"properties": {"body_encoding": "base64"}, "body": "a"}')
    for exchange, raw in itertools.product(("celery.pidbox", EXCHANGE.name), bad):
        topic = f"/{database}.{exchange}"
        eventually(partial(fast.redis.publish, topic, raw), topic)  # somebody heard it
    unheard_of: list[Any] = [
        {},
        [],
        "x",
        {"run": 1},
        {"steps": "s"},
        {"steps": [None]},
        {"run": "nobody"},
    ]
    with fast.client.celery.producer_or_acquire() as producer:
        for what in unheard_of:
            producer.publish(what, exchange=EXCHANGE, routing_key="", serializer="json")
    assert fast.client.ask("shout", "still here").get(timeout=SOON_S) == "STILL HERE"
    assert worker.running


class TestUnknownTask:
    def test_its_caller_hears_of_it(self, fast: Stack, plain: Celery) -> None:
        fast.worker()
        sent = plain.send_task("made.up", ["my password=hunter2"], queue=QUEUE)
        with pytest.raises(Exception, match=r"made\.up") as caught:
            sent.get(timeout=SOON_S)
        assert type(caught.value).__name__ == "NotRegistered"
        letter = the_letter(fast)
        assert (letter["cause"], letter["task"], letter["step_id"]) == (
            "unknown_task",
            "made.up",
            sent.id,
        )
        shown = fast.client.dead_letters.get(letter["id"])
        assert shown is not None
        assert "hunter2" not in json.dumps(shown)
        assert "hunter2" not in fast.workers[0].logs()

    def test_requeued_it_comes_back(self, fast: Stack, plain: Celery) -> None:
        fast.worker()
        plain.send_task("made.up", queue=QUEUE)
        before = the_letter(fast)["id"]
        fast.client.dead_letters.requeue(before)
        after = eventually(
            lambda: [d for d in fast.client.dead_letters.list() if d["id"] != before]
        )
        assert [d["task"] for d in after] == ["made.up"]
        assert len(fast.client.dead_letters.list()) == 1

    def test_requeued_after_its_repair(self, fast: Stack) -> None:
        """As when a worker of the right version is there at last."""
        raw = json.dumps(envelope([["hello"], {"agent": "shout"}, None], headers={"id": "late"}))
        letter = {
            "id": "m",
            "cause": "unknown_task",
            "reason": "r",
            "queue": QUEUE,
            "payload": "",
            "raw": base64.b64encode(raw.encode()).decode(),
            "size": len(raw),
            "at": time.time(),
        }
        with fast.engine.begin() as c:
            c.execute(insert(DeadLetter).values(letter))
        fast.worker()
        fast.client.dead_letters.requeue("m")
        assert fast.client.runs.handle("late").get(timeout=SOON_S) == "HELLO"
        assert fast.client.dead_letters.list() == []


class TestDeadStep:
    def test_requeued_it_runs(self, fast: Stack) -> None:
        kill_step(fast, "s")
        fast.worker()
        letter = the_letter(fast)
        assert (letter["id"], letter["kind"], letter["attempts"]) == ("s", "step", 3)
        assert "hunter2" not in json.dumps(letter)
        fast.client.dead_letters.requeue("s")
        assert fast.client.runs.handle("s").get(timeout=SOON_S) == "HELLO"
        assert fast.client.dead_letters.list() == []

    def test_dropped(self, fast: Stack) -> None:
        kill_step(fast, "s")
        fast.worker()
        assert fast.client.dead_letters.drop("s")
        assert not fast.client.dead_letters.drop("s")
        assert fast.client.dead_letters.list() == []
        assert fast.state("s") == State.DEAD

    def test_what_is_none(self, fast: Stack) -> None:
        fast.worker()
        assert fast.client.dead_letters.get("nobody") is None
        with pytest.raises(InvalidPayloadError, match="no dead letter nobody"):
            fast.client.dead_letters.requeue("nobody")


def test_by_command(fast: Stack) -> None:
    """Without a worker: the journal itself is asked."""

    def run(*arguments: str) -> str:
        done = celery("-A", APP, "agents", "dead", *arguments, env=fast.env)
        return done.stdout + done.stderr

    kill_step(fast, "s")
    assert "Given up: password=***" in run("list")
    assert '"kind": "step"' in run("show", "s")
    assert "There is no dead letter x" in run("show", "x")
    assert "s is queued again" in run("requeue", "s")
    assert fast.state("s") == State.READY
    assert fast.depth() == 1
    assert "There is no dead letter s" in run("requeue", "s")
    assert "There is no dead letter s" in run("drop", "s")
