"""Limits of ``[limits]`` with real workers: what is not admitted waits for its turn, parked."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from celery_agents import RetryPolicy
from tests.fakes.model_server import Bucket, Does, ModelServer
from tests.integration.harness import COROUTINES, SOON_S, Stack

ONCE = RetryPolicy(max_attempts=1, base_delay_s=0.1)
Start = Callable[..., Stack]


@pytest.fixture
def provider(model: ModelServer) -> Iterator[ModelServer]:
    """The model server, without a limit again after the test."""
    yield model
    model.bucket = None
    model.script()


@pytest.fixture
def start(fast: Stack, provider: ModelServer, tmp_path: Path) -> Start:
    """Starts a worker with a service, a model, and these limits."""

    def begin(limits: str, *, workers: int = 1) -> Stack:
        config = tmp_path / "agents.toml"
        config.write_text(
            textwrap.dedent(f"""
            [agents.gpt]
            kind = "openai"
            model = "gpt-5-mini"
            base_url = "{provider.url}/v1"
            api_key_env = "FAKE_KEY"
            tools = ["tests.support.agents:charge"]
            effects = "pure"

            [agents.service]
            kind = "http"
            url = "{provider.url}/agent"
            """)
            + textwrap.dedent(limits)
        )
        fast.env |= {"AGENTS_CONFIG": str(config), "FAKE_KEY": "sk-fake-0123456789abcdef0123"}
        for _ in range(workers):
            fast.worker(COROUTINES)
        return fast

    return begin


def test_what_is_above_a_rate_waits_for_its_turn(start: Start, provider: ModelServer) -> None:
    stack = start("""
        [limits.service]
        covers = ["agent:service"]
        requests_per_minute = 1200
        burst_s = 0.1
    """)
    provider.script(Does(raw=b'"ok"'))
    provider.bucket = Bucket(20, burst=12)
    stack.client.ask("service", 0).get(timeout=SOON_S)
    began = time.monotonic()
    runs = [stack.client.ask("service", number, retry=ONCE) for number in range(40)]
    assert [run.get(timeout=2 * SOON_S) for run in runs] == ["ok"] * len(runs)
    assert time.monotonic() - began > 1.5
    assert provider.bucket.refused <= 2
    rows = [stack.row(run.id) for run in runs]
    assert {row.attempts for row in rows} == {1}
    assert sum(row.token for row in rows) <= 2.1 * len(runs)  # claims
