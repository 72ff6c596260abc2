"""Other libraries' agents in real workers that are killed: what was paid is not paid again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celery_agents import RetryPolicy
from celery_agents.errors import BudgetExceededError
from tests.fakes.model_server import Does, ModelServer, running
from tests.integration.harness import FAST, SOON_S, Stack, eventually

MODULES = {**FAST, "AGENTS_MODULES": '["tests.support.framed"]'}
#: Each kill is an attempt.
MANY = RetryPolicy(max_attempts=10, base_delay_s=0.01)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with running() as made:
        yield made


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def journaled(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    url = request.getfixturevalue(f"{request.param}_journal_url")
    made = Stack(redis_url, url, tmp_path, MODULES)
    yield made
    made.close()


def asked(server: ModelServer) -> Counter[str]:
    """What the server was asked for, and how often."""
    return Counter(str(seen.body["messages"][-1]["content"]) for seen in server.requests)


def test_a_loop_by_hand_pays_nothing_twice(server: ModelServer, journaled: Stack) -> None:
    hangs = Does(hang=True)
    server.script(Does(text="x"), Does(text="x"), Does(text="x"), hangs, hangs, Does(text="x"))
    run = journaled.client.ask("by_hand", {"url": server.url, "then": 3}, retry=MANY)
    worker = journaled.worker()
    for requests in (4, 5):  # the second of the three, streamed or not, twice amid it
        eventually(lambda n=requests: len(server.requests) == n, f"{requests} requests")  # type: ignore[misc]
        worker.kill()
        worker = journaled.worker()
    assert run.get(timeout=SOON_S) == ["x"] * 5
    assert asked(server) == {"a": 1, "b": 1, "0": 1, "1": 3, "2": 1}
    # One key for each request, however often it was sent.
    keys = {seen.headers["idempotency-key"] for seen in server.requests}
    assert len(keys) == 5
    outcome = run.outcome()
    assert outcome is not None
    usage = outcome.usage
    assert (usage.calls, usage.input_tokens) == (5, 500)
    assert usage.cost_usd == pytest.approx(5 * 140 / 1e6)


def test_a_budget_of_the_run_ends_it(server: ModelServer, journaled: Stack) -> None:
    server.script(Does(text="x", input_tokens=1000, output_tokens=500))  # 0.002 dollars
    journaled.worker()
    about: Any = {"url": server.url, "then": 8}
    run = journaled.client.ask("by_hand", about, budget={"usd": 0.011})
    with pytest.raises(BudgetExceededError):
        run.get(timeout=SOON_S)
    assert 2 <= len(server.requests) <= 5
