"""Nothing secret is shown: not in logs, events, rows of errors, results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from celery_agents import Client, RetryPolicy
from celery_agents.errors import AgentFailedError, NoDecisionError
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import (
    COROUTINES,
    PREFORK,
    SOON_S,
    THREADS,
    Stack,
    eventually,
    watching,
)
from tests.support.agents import PASSWORD

pytestmark = pytest.mark.databases("sqlite")

KEY = "sk-live-0123456789abcdef0123456789"


def test_error_of_an_agent(client: Client, stack: Stack, events: list[dict[str, Any]]) -> None:
    run = client.ask("bad", "log in")
    with pytest.raises(AgentFailedError, match=r"password=\*\*\*") as caught:
        run.get(timeout=SOON_S)
    assert PASSWORD not in str(caught.value)
    eventually(lambda: any(e["type"] == "task-failed" and e["uuid"] == run.id for e in events))
    assert PASSWORD not in json.dumps(events)
    shown = (stack.row(run.id).outcome, stack.row(run.id).error, run.status())
    assert PASSWORD not in json.dumps(shown)
    assert PASSWORD not in json.dumps([c.error for c in stack.calls(run.id)])
    assert PASSWORD not in str(stack.redis.get(f"celery-task-meta-{run.id}"))
    assert PASSWORD not in stack.workers[0].logs()


def test_error_that_is_retried(client: Client, stack: Stack) -> None:
    run = client.ask("bad", "log in", retry=RetryPolicy(max_attempts=2))
    with pytest.raises(AgentFailedError):
        run.get(timeout=SOON_S)
    assert PASSWORD not in stack.workers[0].logs()


def test_arguments(client: Client, stack: Stack, events: list[dict[str, Any]]) -> None:
    run = client.ask("noop", f"use {KEY} please", instructions=f"Authorization: Bearer {KEY}")
    run.get(timeout=SOON_S)
    vote = client.vote(["shout", "shout"], KEY)
    vote.get(timeout=SOON_S)
    received = eventually(
        lambda: [e for e in events if e["type"] == "task-received" and e["uuid"] == run.id]
    )
    assert "use *** please" in received[0]["args"]
    eventually(lambda: sum(e.get("root_id") == vote.id for e in events) >= 3)
    assert all(KEY not in json.dumps([e.get("args"), e.get("kwargs")]) for e in events)
    log = stack.workers[0].logs()
    assert KEY not in "\n".join(line for line in log.splitlines() if "received" in line)


def test_plain_producers_arguments_in_a_retry(stack: Stack, events: list[dict[str, Any]]) -> None:
    plain = Celery("somebody", broker=stack.redis_url, backend=stack.redis_url)
    kwargs = {"agent": "flaky", "retry": {"base_delay_s": 0.05}, "instructions": KEY}
    sent = plain.send_task("agents.ask", [{"until": 2}], kwargs, queue="agents", kwargsrepr="{}")
    assert sent.get(timeout=SOON_S) == "attempt 2"
    seen = eventually(
        lambda: (
            found if len(found := [e for e in events if e.get("uuid") == sent.id]) >= 4 else None
        )
    )
    assert KEY not in json.dumps(seen)
    plain.close()


def test_key_of_a_provider(client: Client, stack: Stack, model: ModelServer) -> None:
    key = "sk-fake-0123456789abcdef0123"
    model.script(Does(status=400, text=f"the key {key} may not do this"))
    run = client.ask("gpt", "?")
    with pytest.raises(Exception, match="may not do this") as caught:
        run.get(timeout=SOON_S)
    assert key not in str(caught.value)
    assert key not in json.dumps(stack.row(run.id).outcome)
    assert key not in stack.workers[0].logs()


def test_what_the_journal_refuses(stack: Stack) -> None:
    """A statement that fails is shown without its parameters: they hold payloads."""
    error: Exception | None = None
    with stack.engine.connect() as connection:
        try:
            connection.execute(text("SELECT * FROM no_such_table WHERE x = :x"), {"x": KEY})
        except OperationalError as caught:
            error = caught
    assert "no_such_table" in str(error)
    assert KEY not in str(error)


def test_password_of_the_broker(stack: Stack) -> None:
    password = stack.redis_url.split(":")[2].split("@")[0]
    assert len(password) > 8
    assert password not in "".join(w.logs() for w in stack.workers)


ANSWER = f"the answer that nobody else may read, with {KEY}"


@pytest.mark.parametrize("args", [COROUTINES, THREADS, PREFORK], ids=["ours", "threads", "prefork"])
def test_answers(fast: Stack, args: Sequence[str]) -> None:
    worker = fast.worker([*args, "--loglevel", "INFO"])
    with watching(fast) as seen:
        client = fast.client
        run = client.ask("noop", {"text": ANSWER})
        assert run.get(timeout=SOON_S) == {"text": ANSWER}
        assert client.vote(["noop"], ANSWER).get(timeout=SOON_S).option == ANSWER.casefold()
        with pytest.raises(NoDecisionError):
            client.vote(["noop", "noop"], ANSWER, quorum=3).get(timeout=SOON_S)
        run.status()
        ids = {e.get("uuid") for e in seen if e["type"] == "task-received"}
        eventually(lambda: ids <= {e.get("uuid") for e in seen if e["type"] in ENDS})
    told = [e for e in seen if e["type"] == "task-succeeded" and e["uuid"] == run.id]
    assert "the answer that nobody else may read" in told[0]["result"]  # Flower shows answers
    assert [e for e in seen if "0123456789" in json.dumps(e)] == []
    log = worker.logs()
    assert f"Task agents.ask[{run.id}] succeeded in" in log
    assert "may read" not in log.casefold()
    assert "0123456789" not in log


ENDS = {"task-succeeded", "task-failed", "task-rejected", "task-retried"}
