"""Limits of ``[limits]`` with real workers: what is not admitted waits for its turn, parked."""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from celery_agents import RetryPolicy, Run
from celery_agents.errors import InvalidPayloadError
from tests.fakes.model_server import Bucket, Does, ModelServer
from tests.integration.harness import COROUTINES, SOON_S, Stack, celery, eventually
from tests.support.service import APP

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


def test_an_operator_closes_a_limit_sees_who_waits_and_opens_it(
    start: Start, provider: ModelServer
) -> None:
    stack = start("""
        [limits.service]
        covers = ["agent:service"]
        concurrent = 50
    """)
    provider.script(Does(raw=b'"ok"'))
    limits = stack.client.limits
    with pytest.raises(InvalidPayloadError, match=r"'nobody'.*service, agent:service"):
        limits.pause("nobody")
    limits.pause("service")
    runs = [stack.client.ask("service", number) for number in range(3)]
    ids = [run.id for run in runs]
    eventually(lambda: limits.list()[0].waiting == 3)
    tree = runs[2].status()
    assert tree is not None
    assert tree["steps"][0]["waits_for"].startswith("limit service, place ")
    assert sorted(int(_place(run)) for run in runs) == [1, 2, 3]
    state = limits.list()[0]
    assert (state.name, state.in_use, state.waiting) == ("service", 0, 3)
    assert (state.paused_s or 0) > 3600
    shown = celery("agents", "limits", "--json", env=stack.env)
    assert json.loads(shown.stdout)[0]["waiting"] == 3, shown.stderr
    told = celery("-A", APP, "agents", "status", ids[0], env=stack.env)
    assert "limited: waits for limit service, place " in told.stdout, told.stderr
    assert celery("agents", "limits", "resume", "service", env=stack.env).stdout
    assert [run.get(timeout=SOON_S) for run in runs] == ["ok"] * 3
    assert limits.list()[0].paused_s is None
    assert {stack.row(run_id).token for run_id in ids} == {2}


def _place(run: Run) -> str:
    tree = run.status()
    assert tree is not None
    return str(tree["steps"][0]["waits_for"]).partition("place ")[2].partition(",")[0]
