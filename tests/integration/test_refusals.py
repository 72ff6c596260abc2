"""Limits of providers and services, over real HTTP: what is refused waits, and is no attempt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from celery_agents import Client, RetryPolicy
from celery_agents.errors import ProviderRefusedError, RateLimitedError
from tests.fakes.model_server import Bucket, Does, ModelServer
from tests.integration.harness import SOON_S, Stack

pytestmark = pytest.mark.databases("sqlite")

ONCE = RetryPolicy(max_attempts=1, base_delay_s=0.1)
LATER = {"Retry-After": "1"}


@pytest.fixture
def limited(model: ModelServer) -> Iterator[ModelServer]:
    """The model server, without a limit again after the test."""
    yield model
    model.bucket = None
    model.script()


@pytest.mark.parametrize(
    ("agent", "status"),
    [("gpt", 429), ("claude", 429), ("gemini", 429), ("service", 429), ("service", 503)],
)
def test_many_more_than_a_limit_allows_are_all_answered(
    client: Client, stack: Stack, limited: ModelServer, agent: str, status: int
) -> None:
    """Of 1,000 at once against 600 a minute two thirds failed: each refusal was an attempt."""
    limited.script(Does(text="ok") if agent != "service" else Does(raw=b'"ok"'))
    limited.bucket = Bucket(20, burst=5, status=status)
    runs = [client.ask(agent, number, retry=ONCE) for number in range(20)]
    assert [run.get(timeout=2 * SOON_S) for run in runs] == ["ok"] * len(runs)
    assert limited.bucket.refused > 0
    assert limited.bucket.admitted == len(runs)
    assert {stack.row(run.id).attempts for run in runs} == {1}
    assert all(stack.events(run.id, "retry") == [] for run in runs)


def test_a_conversation_that_is_refused_in_the_middle_goes_on_there(
    client: Client, stack: Stack, limited: ModelServer
) -> None:
    limited.script(
        Does(tool=("charge", {"amount": 3})),
        Does(status=429, headers=LATER),
        Does(status=429, headers=LATER),
        Does(text="It is paid."),
    )
    run = client.ask("charging", "Charge 3.", retry=ONCE)
    assert run.get(timeout=SOON_S) == "It is paid."
    done = [call.name for call in stack.calls(run.id) if call.error is None]
    assert done == ["model:openai/gpt-5-mini", "tool:charge", "model:openai/gpt-5-mini"]
    outcome = run.outcome()
    assert outcome is not None
    assert (outcome.attempts, outcome.usage.calls) == (1, 2)


def test_its_deadline_bounds_what_is_refused(client: Client, limited: ModelServer) -> None:
    limited.script(Does(status=429, text="come again in an hour", headers={"Retry-After": "3600"}))
    with pytest.raises(RateLimitedError, match="come again in an hour"):
        client.ask("gpt", 1, deadline_s=30).get(timeout=SOON_S)
    assert len(limited.requests) == 1


@pytest.mark.parametrize("agent", ["gpt", "claude", "gemini", "service"])
@pytest.mark.parametrize(
    "error",
    [
        '{"code": "insufficient_quota", "message": "You exceeded your current quota."}',
        '{"message": "Rate limit reached on requests per day (RPD): Limit 200, Used 200."}',
        '{"message": "No more today.", "details": [{"violations": [{"quotaId": "TokensPerDay"}]}]}',
    ],
    ids=["credit", "day", "google"],
)
def test_a_quota_that_is_used_up_is_told_at_once(
    client: Client, limited: ModelServer, agent: str, error: str
) -> None:
    limited.script(Does(status=429, raw=f'{{"error": {error}}}'.encode(), headers=LATER))
    with pytest.raises(ProviderRefusedError, match=r"quota|per day|No more today"):
        client.ask(agent, 1).get(timeout=SOON_S)
    assert len(limited.requests) == 1


def test_a_chain_asks_the_next_one_and_the_last_one_waits(
    client: Client, limited: ModelServer
) -> None:
    busy = Does(status=429, headers={"Retry-After": "3600"})
    limited.script(busy, Does(text="I am free."))
    assert client.fallback(["gpt", "claude"], "?").get(timeout=SOON_S) == "I am free."
    limited.script(busy, Does(status=429, headers=LATER), Does(text="Now I am."))
    run = client.fallback(["gpt", "claude"], "?", retry=ONCE)
    assert run.get(timeout=SOON_S) == "Now I am."
    limited.script(busy, Does(text="Limits are mine."))
    chain: list[str | dict[str, Any]] = ["gpt", {"agent": "claude", "on": ["rate_limited"]}]
    assert client.fallback(chain, "?").get(timeout=SOON_S) == "Limits are mine."
