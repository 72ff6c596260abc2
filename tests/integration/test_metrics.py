"""What workers and the API tell Prometheus, of real runs; and a real Prometheus that asks them."""

from __future__ import annotations

import os
import textwrap
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select

from app.journal.schema.models import Step
from celery_agents import RetryPolicy
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import AgentsError
from tests.fakes.model_server import ModelServer
from tests.integration.harness import PREFORK, SOON_S, Stack, eventually
from tests.support.api import served
from tests.support.dashboards import RULES, asked_for, recorded
from tests.support.ports import free_port
from tests.support.prometheus import needs_prometheus, needs_promtool, promtool, scraping

pytestmark = pytest.mark.databases("sqlite")

#: Seconds of load under a Prometheus; AGENTS_TEST_LOAD_S=30 takes longer.
LOAD_S = float(os.environ.get("AGENTS_TEST_LOAD_S", "2"))
ONCE = RetryPolicy(max_attempts=1)
Told = dict[str, float]


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def read(text: str) -> Told:
    """Samples by name and labels, as PromQL writes them."""
    found: Told = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def governed(fast: Stack, model: ModelServer, port: int) -> Iterator[Stack]:
    """A worker that is asked for its numbers, with a limit, a budget, a cache and a breaker."""
    entry = f"""
        kind = "openai"
        model = "gpt-5-mini"
        api_key_env = "FAKE_KEY"
        base_url = "{model.url}/v1"
        price = {{ input_usd = 1.0, output_usd = 2.0 }}
    """
    config = fast.directory / "agents.toml"
    config.write_text(
        textwrap.dedent(f"""
            [agents.gpt]{entry}
            [agents.known]{entry}
            temperature = 0
            cache = 60
            [agents.down]
            kind = "http"
            url = "http://127.0.0.1:{free_port()}/"
            breaker = {{ failures = 1, open_s = 3600 }}
            [limits.openai]
            covers = ["agent:gpt"]
            concurrent = 5
            [budgets.company]
            usd = 100.0
            [tenants.acme]
            weight = 2
        """)
    )
    fast.env |= {
        "AGENTS_CONFIG": str(config),
        "FAKE_KEY": "sk-fake-0123456789abcdef0123",
        "AGENTS_HEALTH_PORT": str(port),
        "AGENTS_HEALTH_INTERVAL_S": "1",
        "AGENTS_API_AUTH": "none",
    }
    yield fast
    model.script()


def work(stack: Stack, *, again: bool = False) -> None:
    """Some of all that is counted; what a breaker holds back by then is not waited for."""
    client = stack.client
    runs = [
        client.ask("gpt", "hello", tenant="acme"),
        client.ask("known", "the same"),
        client.ask("no-such-agent", 1),
        client.ask("refused", "no"),
        client.ask("flaky", {"until": 2}),
        client.vote(["yes", "yes", "no"], "Which?"),
    ]
    down = client.ask("down", 1, retry=ONCE)
    for run in runs if again else [*runs, down]:
        with suppress(AgentsError):
            run.get(timeout=SOON_S)


def test_a_worker_counts_what_its_children_do(fast: Stack, port: int) -> None:
    """Each end is told by the process that it asks, whichever child it was; none is told twice."""
    fast.worker([*PREFORK, "--max-tasks-per-child", "3"], env={"AGENTS_HEALTH_PORT": str(port)})
    for number in range(8):
        assert fast.client.ask("noop", number).get(timeout=SOON_S) == number
    with suppress(AgentsError):
        fast.client.ask("refused", "no").get(timeout=SOON_S)
    ask, url = 'task="agents.ask"', f"http://127.0.0.1:{port}/metrics"
    waited = f"agents_step_wait_seconds_count{{{ask}}}"
    failed = 'agents_runs_total{state="failed",task="agents.ask"}'
    found: Told = {}

    def all_are_told() -> bool:  # a step has waited before its end is told
        found.update(read(page(url)))
        return found.get(waited) == 9 and failed in found

    eventually(all_are_told)
    assert found[f'agents_steps_total{{agent="noop",state="succeeded",{ask}}}'] == 8
    assert found[failed] == 1
    assert found['agents_errors_total{agent="refused",kind="agent_failed"}'] == 1
    assert found[f'agents_step_duration_seconds_count{{agent="noop",{ask}}}'] == 8
    assert found["agents_steps_running{}"] == 0
    assert found["agents_journal_writable{}"] == 1


def test_what_is_counted_agrees_with_the_journal(fast: Stack, port: int) -> None:
    """Steps that another one's end, a cancellation or a person ended too, each once."""
    fast.worker(env={"AGENTS_HEALTH_PORT": str(port)})
    client = fast.client
    slow: JsonValue = {"seconds": 30}
    asking = client.vote(["yes", "no"], "?", choices=["yes", "no"], escalate="person")
    for run in (
        client.ask("noop", 1),
        client.vote(["yes", "yes", "slow_yes", "slow_yes"], "?", choices=["yes", "no"]),
        client.map("bad", list(range(60)), on_failure="stop"),
        client.fallback(["bad", "shout"], "x"),
    ):
        with suppress(AgentsError):
            run.get(timeout=SOON_S)
    cancelled = [client.map("slow", [slow] * 40), client.ask("slow", slow)]  # no slot is left
    eventually(lambda: "running" in {row.state for row in fast.members(cancelled[0].id).values()})
    for run in cancelled:
        client.runs.cancel(run.id)
    eventually(lambda: any(wish.run_id == asking.id for wish in client.waiting()))
    client.runs.approve(asking.id, "yes")
    asking.get(timeout=SOON_S)
    found: Told = {}

    def agree() -> bool:
        rows = fast.read(lambda c: c.execute(select(Step.__table__)).all())
        steps = Counter((r.task, r.agent or "", r.state) for r in rows)
        found.update(read(page(f"http://127.0.0.1:{port}/metrics")))
        told = {
            f'agents_steps_total{{agent="{agent}",state="{state}",task="{task}"}}': n
            for (task, agent, state), n in steps.items()
        }
        ended = all(r.finished_at is not None for r in rows)
        return (
            ended and {k: n for k, n in found.items() if k.startswith("agents_steps_total")} == told
        )

    eventually(agree, "the counters are the journal's")
    states = {name.split('state="')[1].split('"')[0] for name in found if "steps_total" in name}
    assert states == {"succeeded", "failed", "skipped", "cancelled"}


@needs_promtool
def test_the_api_tells_of_all_workers_once(governed: Stack, port: int) -> None:
    governed.worker()
    governed.beat("beat")
    with served(governed.env, governed.directory) as api:
        work(governed)
        found: Told = {}

        def probed(name: str, least: float) -> bool:
            found.update(read(api.get("/metrics").text))
            return found.get(name, -1) >= least

        def told(name: str, least: float, agent: str) -> bool:
            """The end of a call that a slow Redis was not told of is told by the next one."""
            if probed(name, least):
                return True
            with suppress(AgentsError):
                governed.client.ask(agent, "again", retry=ONCE).get(timeout=SOON_S)
            return False

        for name, least, agent in (
            ('agents_breaker_state{breaker="agent:down"}', 1, "down"),
            ('agents_budget_used_ratio{budget="company"}', 1e-9, "gpt"),
            ('agents_healthy{target="journal"}', 0, "known"),
        ):
            look = partial(told, name, least, agent)
            eventually(look, f"{name} is told of", timeout_s=3 * SOON_S)
        text = api.get("/metrics").text
    assert promtool("check", "metrics", text=text) == ""
    assert found['agents_workers{state="alive"}'] == 1
    assert found['agents_steps_open{state="ready"}'] == 0
    assert found['agents_queue_messages{priority="5",queue="agents"}'] == 0
    assert found['agents_breaker_state{breaker="agent:down"}'] == 1
    assert found['agents_healthy{target="journal"}'] == 1
    assert found['agents_limit_in_use{limit="openai"}'] == 0
    assert 0 < found['agents_budget_used_ratio{budget="company"}'] < 0.01
    # Each attempt looks: one whose lease was lost on a busy machine does so again.
    assert found['agents_cache_misses_total{name="known"}'] >= 1
    assert read(text)['agents_http_requests_total{code="200",method="GET",route="/metrics"}'] >= 1
    own = read(page(f"http://127.0.0.1:{port}/metrics"))
    assert own['agents_tokens_total{agent="gpt",direction="input"}'] > 0
    assert own['agents_cost_usd_total{agent="gpt"}'] > 0
    assert own['agents_calls_total{agent="down",outcome="failed"}'] >= 1
    assert own['agents_errors_total{agent="other",kind="unknown_agent"}'] == 1
    assert sum(n for name, n in own.items() if 'agents_retries_total{agent="flaky"' in name) == 1
    names = [n.partition("{")[0] for n in found if not n.startswith("agents_http")]
    assert set(names).isdisjoint(n.partition("{")[0] for n in own)


def test_the_journal_is_told_of_without_a_worker_and_redis(fast: Stack) -> None:
    fast.env |= {"AGENTS_API_AUTH": "none"}
    with served(fast.env, fast.directory) as api:
        found = read(api.get("/metrics").text)
    assert found['agents_workers{state="alive"}'] == 0
    assert found["agents_accepted{}"] == 0
    assert not [name for name in found if "limit" in name]


@needs_prometheus
def test_every_expression_of_the_dashboard_has_data(
    governed: Stack, port: int, tmp_path: Path
) -> None:
    governed.worker()
    governed.beat("beat")
    with served(governed.env, governed.directory) as api:
        jobs = {"workers": f"127.0.0.1:{port}/metrics", "api": f"{_host(api)}/metrics"}
        with scraping(tmp_path, jobs, [RULES]) as prometheus:
            work(governed)
            eventually(lambda: prometheus.up("workers") and prometheus.up("api"))
            governed.client.ask.many("slow", [{"seconds": 2}] * 150, tenant="acme")
            asked = [*(e.replace("$__rate_interval", "30s") for e in asked_for()), *recorded()]
            missing = set(asked)

            def complete() -> bool:
                missing.difference_update(e for e in [*missing] if prometheus.query(e))
                return not missing

            until = time.monotonic() + LOAD_S
            while time.monotonic() < until:
                work(governed, again=True)
                complete()
            with suppress(AssertionError):
                eventually(complete)
            assert not missing
            alerts = {rule["name"] for rule in _alerts(prometheus.ask("rules"))}
            (series,) = prometheus.query('count({__name__=~"agents_.*", job="workers"})')
            print(len(asked), "expressions,", series["value"][1], "series of a worker")
    assert "AgentsNoWorker" in alerts
    assert int(series["value"][1]) < 3_000


def _host(api: httpx2.Client) -> str:
    return f"{api.base_url.host}:{api.base_url.port}"


def _alerts(rules: dict[str, list[dict[str, list[dict[str, str]]]]]) -> list[dict[str, str]]:
    """Alerting rules that were evaluated without an error."""
    found = [rule for group in rules["groups"] for rule in group["rules"]]
    assert all(rule["health"] == "ok" for rule in found), found
    return [rule for rule in found if rule["type"] == "alerting"]
