"""Limits of ``[limits]`` with real workers: what is not admitted waits for its turn, parked."""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from celery_agents import RetryPolicy, Run
from celery_agents.errors import InvalidPayloadError, NotAdmittedError
from tests.fakes.model_server import Bucket, Does, ModelServer
from tests.integration.harness import COROUTINES, SOON_S, Stack, celery, eventually
from tests.support.service import APP

pytestmark = pytest.mark.databases("sqlite")

ONCE = RetryPolicy(max_attempts=1, base_delay_s=0.1)
#: Leases that a busy machine keeps: a step that is taken over is claimed once more.
USUAL = {"AGENTS_LEASE_S": "7", "AGENTS_HEARTBEAT_INTERVAL_S": "1.5", "AGENTS_WAKE_GRACE_S": "10"}
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
        fast.env |= USUAL | {
            "AGENTS_CONFIG": str(config),
            "FAKE_KEY": "sk-fake-0123456789abcdef0123",
        }
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
    events = [event for run in runs for event in stack.events(run.id, "limited")]
    assert {event["data"]["limit"] for event in events} == {"service"}


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
    shown = celery("agents", "limits", "list", "--json", env=stack.env)
    assert json.loads(shown.stdout)[0]["waiting"] == 3, shown.stderr
    told = celery("-A", APP, "agents", "status", ids[0], env=stack.env)
    assert "limited: waits for limit service, place " in told.stdout, told.stderr
    assert celery("agents", "limits", "resume", "service", env=stack.env).stdout
    assert [run.get(timeout=SOON_S) for run in runs] == ["ok"] * 3
    assert limits.list()[0].paused_s is None
    assert [len(stack.events(run_id, "paused")) for run_id in ids] == [1] * 3
    assert {stack.row(run_id).token for run_id in ids} == {2}


def _place(run: Run) -> str:
    tree = run.status()
    assert tree is not None
    return str(tree["steps"][0]["waits_for"]).partition("place ")[2].partition(",")[0]


def test_a_conversation_that_waits_in_its_middle_goes_on_there(
    start: Start, provider: ModelServer
) -> None:
    stack = start("""
        [limits.model]
        covers = ["agent:gpt"]
        requests_per_minute = 6
        burst_s = 0.1
    """)
    provider.script(Does(tool=("charge", {"amount": 3})), Does(text="It is paid."))
    run = stack.client.ask("gpt", "Charge 3.", retry=ONCE)
    assert run.get(timeout=SOON_S) == "It is paid."
    assert len(provider.requests) == 2  # the first one is not made again
    row = stack.row(run.id)
    assert row.attempts == 1
    assert row.token in {2, 3}  # seen three on a busy machine: it waited once more
    assert [call.name for call in stack.calls(run.id)] == [
        "model:openai/gpt-5-mini",
        "tool:charge",
        "model:openai/gpt-5-mini",
    ]


def test_a_refusal_closes_the_key_for_all(start: Start, provider: ModelServer) -> None:
    stack = start(
        """
        [limits.service]
        covers = ["agent:service"]
        concurrent = 100
        """,
        workers=2,
    )
    busy = Does(status=429, raw=b'"slow"', headers={"Retry-After": "8"})
    provider.script(busy, Does(raw=b'"ok"'))
    first = stack.client.ask("service", 0, retry=ONCE)
    eventually(lambda: stack.client.limits.list()[0].paused_s)
    runs = [first, *(stack.client.ask("service", n, retry=ONCE) for n in range(1, 8))]
    with pytest.raises(NotAdmittedError, match="waits for limit agent:service"):
        stack.client.ask("service", 9, when_open="fail").get(timeout=SOON_S)
    assert len(provider.requests) == 1
    assert [run.get(timeout=SOON_S) for run in runs] == ["ok"] * 8
    assert len(provider.requests) == 9  # nobody asked in vain
    assert {stack.row(run.id).attempts for run in runs} == {1}


def test_each_tenant_has_its_own(start: Start, provider: ModelServer) -> None:
    stack = start("""
        [limits.customer]
        covers = ["agent:service"]
        per = "tenant"
        requests_per_minute = 1
        burst_s = 1.0

        [tenants.large]
        limits = { customer = { requests_per_minute = 6000 } }
    """)
    provider.script(Does(raw=b'"ok"'))
    ask = stack.client.ask
    many = [ask("service", number, tenant="large") for number in range(5)]
    assert [run.get(timeout=SOON_S) for run in many] == ["ok"] * 5
    provider.requests.clear()
    assert ask("service", 0, tenant="one").get(timeout=SOON_S) == "ok"
    waits = ask("service", 1, tenant="one")
    assert ask("service", 2, tenant="two").get(timeout=SOON_S) == "ok"
    known = stack.client.limits.list
    eventually(lambda: [(s.subject, s.waiting) for s in known()] == [("one", 1)])
    waits.cancel()
    eventually(lambda: stack.state(waits.id) == "cancelled")
    assert len(provider.requests) == 2


def test_what_a_provider_tells_is_kept_by_all(start: Start, provider: ModelServer) -> None:
    stack = start("""
        [limits.service]
        covers = ["kind:http"]
        learn = true
    """)
    provider.script(Does(raw=b'"ok"'))
    provider.bucket = Bucket(20, burst=20, tells=True)
    runs = [stack.client.ask("service", number, retry=ONCE) for number in range(60)]
    assert [run.get(timeout=2 * SOON_S) for run in runs] == ["ok"] * 60
    assert provider.bucket.refused <= 2
    (state,) = stack.client.limits.list()
    assert (state.subject, state.learned["requests"]) == ("agent:service", 1200)
