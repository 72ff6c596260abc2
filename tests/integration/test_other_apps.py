"""A task of another Celery app as an agent, in its own worker."""

from __future__ import annotations

import time

import pytest
from celery import chain, signature
from celery.exceptions import NotRegistered

from celery_agents import Client, RetryPolicy
from celery_agents.errors import AgentFailedError, ProviderUnavailableError
from tests.integration.harness import SOON_S, Stack
from tests.support import sample_app
from tests.support.workers import WorkerProcess

pytestmark = [pytest.mark.databases("sqlite"), pytest.mark.usefixtures("shop")]


def test_answers(client: Client, stack: Stack, shop: WorkerProcess) -> None:
    run = client.ask("shop", "hello")
    assert run.get(timeout=SOON_S) == "shop says: hello"
    (call,) = stack.calls(run.id)
    assert call.name == "celery:shop.answer"
    shop.wait_for_log(f"[{call.idempotency_key}] succeeded")  # told once its result is kept


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


@pytest.mark.parametrize("by", ["the client", "Celery"])
def test_what_follows_a_step_goes_to_its_own_apps_queue(client: Client, by: str) -> None:
    canvas = chain(client.ask.s("shout", "hello"), sample_app.answer.s())
    if by == "Celery":
        sent = canvas.apply_async()
    else:
        sent = canvas.freeze()
        client.publish([canvas])
    result = client.celery.AsyncResult(sent.id)
    assert result.get(timeout=SOON_S) == "shop says: HELLO"


def test_what_follows_a_step_and_has_no_queue_is_told_what_to_do(client: Client) -> None:
    somebodys = signature("elsewhere.answer", app=client.celery)  # by its name alone
    sent = chain(client.ask.s("shout", "hello"), somebodys).apply_async()
    result = client.celery.AsyncResult(sent.id)
    with pytest.raises(NotRegistered, match=r"elsewhere\.answer .*'agents' .*\.set\(queue=…\)"):
        result.get(timeout=SOON_S)
    named = signature("shop.answer", app=client.celery).set(queue="shop")
    sent = chain(client.ask.s("shout", "hello"), named).apply_async()
    assert client.celery.AsyncResult(sent.id).get(timeout=SOON_S) == "shop says: HELLO"
