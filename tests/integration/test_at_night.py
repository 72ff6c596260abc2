"""What docs/watching.md says of the night: each trouble is found, by page and by commands."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from sqlalchemy import make_url, update

from app.journal.schema.engine import now
from app.journal.schema.models import Step
from app.journal.tables import health
from celery_agents import RetryPolicy, names
from celery_agents.errors import AgentsError
from tests.integration.harness import FAST, SOON_S, Stack, celery, eventually
from tests.support.api import in_process, settings
from tests.support.disks import filled
from tests.support.ports import free_port
from tests.support.service import APP

pytestmark = pytest.mark.databases("sqlite")

ONCE = RetryPolicy(max_attempts=1)


@pytest.fixture
def night(fast: Stack) -> Stack:
    config = fast.directory / "agents.toml"
    config.write_text(
        f"""
        [agents.down]
        kind = "http"
        url = "http://127.0.0.1:{free_port()}/"
        breaker = {{ failures = 1, open_s = 600 }}
        [budgets.company]
        calls = 1
        covers = ["agent:down"]
        """
    )
    fast.env |= {"AGENTS_CONFIG": str(config)}
    return fast


@pytest.fixture
def page(night: Stack) -> Iterator[Any]:
    about = settings(night.redis_url, night.database_url, api_auth="none")
    with in_process(about) as http:
        http.headers["host"] = "127.0.0.1"
        yield lambda path: http.get(f"/ui{path}").text


def agents(stack: Stack, *words: str) -> Any:
    """What a command says, as JSON."""
    done = celery("-A", APP, "agents", *words, "--json", env=stack.env)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_a_killed_workers_run(night: Stack, page: Any) -> None:
    worker = night.worker()
    run = night.client.ask("slow", {"seconds": 600})
    eventually(lambda: night.state(run.id) == "running")
    up = agents(night, "cluster")
    assert (up["running"], up["slots"], [w["slots"] for w in up["workers"]]) == (1, 16, [16])
    worker.kill()
    eventually(lambda: "gone" in page(f"/runs/{run.id}"), timeout_s=60)
    assert "gone" in str(agents(night, "runs", "show", run.id))
    assert agents(night, "cluster")["running"] == 1


def test_a_breaker_a_budget_and_a_person(night: Stack, page: Any) -> None:
    night.worker()
    night.beat("beat")
    asked = night.client.vote(["yes", "no"], "Which?", escalate="person")
    with pytest.raises(AgentsError):
        night.client.ask("down", 1, retry=ONCE).get(timeout=SOON_S)

    # a stuck breaker
    eventually(lambda: "agent:down" in [row["target"] for row in night.read(health.read)])
    assert "open: no call is let through" in page("/agents")
    rows = {row["target"]: row for row in agents(night, "health")["targets"]}
    assert rows["agent:down"]["breaker"] == "open"

    # a spent budget
    (budget,) = agents(night, "budgets", "list")
    assert (budget["name"], budget["spent"]["calls"]) == ("company", 1)
    assert re.search(r"company.*100% used.*spent</b>.*1 calls", page("/limits"), re.DOTALL)

    # a person who was asked a day ago
    eventually(lambda: asked.waiting(timeout=SOON_S))
    assert agents(night, "waiting")
    with night.engine.begin() as connection:
        day_ago = update(Step).where(Step.task == names.APPROVAL)
        connection.execute(day_ago.values(created_at=now() - 86_500))
    assert agents(night, "cluster")["oldest_asking_s"] > 86_400
    assert agents(night, "runs", "list", "--waiting")["runs"][0]["id"] == asked.id
    waiting = page("/waiting")
    assert asked.id in waiting
    assert "1 d" in waiting


def test_a_full_disk(
    small_disk: Path, sqlite_journal_url: str, redis_url: str, tmp_path: Path
) -> None:
    """A real one: by the alert and the worker's own port, the command, and the page."""
    journal, port = small_disk / "journal.db", free_port()
    shutil.copy(str(make_url(sqlite_journal_url).database), journal)
    stack = Stack(
        redis_url, f"sqlite:///{journal}", tmp_path, FAST | {"AGENTS_HEALTH_INTERVAL_S": "1"}
    )
    try:
        stack.worker(env={"AGENTS_HEALTH_PORT": str(port)})
        stack.beat("beat")
        eventually(lambda: writable(port) == 1)
        about = settings(redis_url, stack.database_url, api_auth="none", health_interval_s=1)
        with in_process(about) as http:
            http.headers["host"] = "127.0.0.1"
            row = r'data-label="Target"[^>]*>journal<.*?</tr>'

            def probed(state: str) -> bool:
                told = re.search(row, http.get("/ui/agents").text, re.DOTALL)
                return told is not None and f">{state}<" in told[0]

            eventually(lambda: probed("healthy"), timeout_s=60)
            with filled(small_disk):
                runs = stack.client.ask.many("noop", [{"text": "x" * 20_000}] * 40)
                eventually(lambda: writable(port) == 0, timeout_s=60)
                assert ALERT in Path("deploy/prometheus/rules.yml").read_text()
                eventually(lambda: probed("stale"), timeout_s=60)
                found = agents(stack, "health")
                assert found["ok"] is False
                (told,) = [one for one in found["targets"] if one["target"] == "journal"]
                assert "full" in told["message"]
            for run in runs:
                assert run.get(timeout=SOON_S)
            eventually(lambda: writable(port) == 1, timeout_s=60)
            eventually(lambda: probed("healthy"), timeout_s=60)
    finally:
        stack.close()


ALERT = """      - alert: AgentsJournalNotWritable
        expr: min by (instance) (agents_journal_writable) == 0
"""


def writable(port: int) -> float:
    """The metric of a worker by which the alert goes."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        told = answer.read().decode()
    (value,) = re.findall(r"^agents_journal_writable(?:{.*})? (\S+)$", told, re.MULTILINE)
    return float(value)
