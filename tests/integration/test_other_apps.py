"""A task of another Celery app as an agent, in its own worker."""

from __future__ import annotations

import time

import pytest

from celery_agents import Client, RetryPolicy
from celery_agents.errors import AgentFailedError, ProviderUnavailableError
from tests.integration.harness import SOON_S, Stack


def test_answers(client: Client, stack: Stack) -> None:
    run = client.ask("shop", "hello")
    assert run.get(timeout=SOON_S) == "shop says: hello"
    (call,) = stack.calls(run.id)
    assert call.name == "celery:shop.answer"
    assert f"[{call.idempotency_key}] succeeded" in stack.workers[1].logs()


def test_its_failure_is_the_agents(client: Client) -> None:
    with pytest.raises(AgentFailedError, match=r"shop\.add failed"):
        client.ask("shop_fails", "only one argument").get(timeout=SOON_S)


def test_no_worker_for_its_queue(client: Client, stack: Stack) -> None:
    begin = time.monotonic()
    run = client.ask("shop_nobody", "anyone?", retry=RetryPolicy(max_attempts=2, base_delay_s=0.05))
    with pytest.raises(ProviderUnavailableError, match=r"'shop\.closed'"):
        run.get(timeout=15)
    assert time.monotonic() - begin >= 1
    assert len(stack.events(run.id, "retry")) == 1
    assert stack.redis.llen("shop.closed") + stack.depth("shop.closed") >= 1


def test_votes_beside_others(client: Client) -> None:
    decision = client.vote(["shop", "shop", "yes"], "x").get(timeout=SOON_S)
    assert decision.option == "shop says: x"
