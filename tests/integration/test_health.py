"""Beats that drive health checks, agents that fall ill and get well, and who answers meanwhile."""

from __future__ import annotations

import json
import re
import subprocess
import textwrap
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app.journal.tables import health as rows
from celery_agents import RetryPolicy, names
from celery_agents.errors import BreakerOpenError, ProviderUnavailableError
from tests.integration.harness import FAST, SOON_S, Stack, celery, eventually
from tests.support.ports import free_port
from tests.support.service import APP

pytestmark = pytest.mark.databases("sqlite")

INTERVAL_S = 1.0
OPEN_S = 600  # a slow machine does not see its end; tests bring that about
ONCE = RetryPolicy(max_attempts=1)


class Service:
    """An HTTP agent that goes down and comes back on its port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.asked = 0
        self._server: ThreadingHTTPServer | None = None

    def up(self) -> None:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                service.asked += 1
                self.rfile.read(int(self.headers["Content-Length"]))
                body = json.dumps("service").encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def down(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    made.up()
    yield made
    made.down()


AGENTS = """
    [agents.main]
    kind = "http"
    url = "http://127.0.0.1:{port}/ask"
    breaker = false
    backup = "other"

    [agents.other]
    kind = "scripted"
    replies = [{{ value = "backup" }}]

    [agents.fragile]
    kind = "http"
    url = "http://127.0.0.1:{port}/ask"
    breaker = {{ failures = 3, open_s = {open_s} }}
"""


@pytest.fixture
def stack(
    redis_url: str, sqlite_journal_url: str, tmp_path: Path, service: Service
) -> Iterator[Stack]:
    config = tmp_path / "agents.toml"
    config.write_text(textwrap.dedent(AGENTS).format(port=service.port, open_s=OPEN_S))
    env = {
        **FAST,
        "AGENTS_CONFIG": str(config),
        "AGENTS_HEALTH_INTERVAL_S": str(INTERVAL_S),
        "AGENTS_HEALTH_CACHE_S": "0.1",
        "AGENTS_BEAT_LOCK_S": "1",
    }
    made = Stack(redis_url, sqlite_journal_url, tmp_path, env)
    yield made
    made.close()


def states(stack: Stack) -> dict[str, str]:
    return {r["target"]: r["state"] for r in stack.read(rows.read)}


def command(stack: Stack, *args: str) -> subprocess.CompletedProcess[str]:
    return celery("-A", APP, "agents", *args, env=stack.env)


def answer(stack: Stack, agent: str) -> tuple[str, str | None]:
    run = stack.client.ask(agent, 1, retry=ONCE)
    value, outcome = run.get(timeout=SOON_S), run.outcome()
    assert outcome is not None
    return value, outcome.agent


def test_a_backup_answers_until_the_agent_is_back(stack: Stack, service: Service) -> None:
    stack.worker(env={"AGENTS_HEALTH_PORT": str(port := free_port())})
    stack.beat("beat")
    eventually(lambda: states(stack).get("agent:main") == "healthy")
    assert answer(stack, "main") == ("service", "main")
    assert command(stack, "health").returncode == 0

    service.down()
    eventually(lambda: states(stack)["agent:main"] == "unhealthy")
    shown = command(stack, "health")
    assert shown.returncode == 1
    assert re.search(r"agent:main +unhealthy .*ConnectionRefusedError", shown.stdout)
    assert re.search(r"journal +healthy", shown.stdout)
    time.sleep(0.2)  # what workers keep in mind
    run = stack.client.ask("main", 1, retry=ONCE)
    assert run.get(timeout=SOON_S) == "backup"
    outcome = run.outcome()
    assert outcome is not None
    assert outcome.agent == "other"
    (event,) = stack.events(run.id, "failover")
    assert event["data"] == {"from": "main", "to": "other", "why": "unhealthy"}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics/service", timeout=10) as page:
        assert 'agents_healthy{target="agent:main"} 0.0' in page.read().decode()

    service.up()
    back = time.monotonic()
    eventually(lambda: answer(stack, "main") == ("service", "main"))
    print(f"back after {time.monotonic() - back:.2f} s, interval {INTERVAL_S} s")


def ends_soon(stack: Stack, breaker: str) -> None:
    """Move the end of an open breaker's time to a second from now."""
    key = f"{names.BREAKERS}{breaker}"
    record = json.loads(stack.redis.get(key) or "{}")
    assert record["s"] == "open"
    record["u"] = round((time.time() + 1) * 1000)
    stack.redis.set(key, json.dumps(record), keepttl=True)


def test_a_breaker_opens_for_all_workers_and_closes_again(stack: Stack, service: Service) -> None:
    stack.worker()
    stack.worker()
    service.down()
    failed = []
    for _ in range(3):
        run = stack.client.ask("fragile", 1, retry=ONCE)
        with pytest.raises(ProviderUnavailableError):
            run.get(timeout=SOON_S)
        failed.append(run)
    (opened,) = stack.events(failed[-1].id, "breaker")
    assert opened["data"] == {"breaker": "agent:fragile", "from": "closed", "to": "open"}
    service.up()
    refused = stack.client.ask("fragile", 1, when_open="fail")
    with pytest.raises(BreakerOpenError) as caught:
        refused.get(timeout=SOON_S)
    assert 0 < (caught.value.retry_after_s or 0) <= OPEN_S
    assert stack.calls(refused.id) == []
    assert service.asked == 0

    chain = stack.client.fallback(["fragile", "other"], 1)
    assert chain.get(timeout=SOON_S) == "backup"
    assert list(stack.members(chain.id)) == ["other"]  # masked, not tried

    ends_soon(stack, "agent:fragile")
    patient = stack.client.ask("fragile", 1, retry=ONCE)
    assert patient.get(timeout=SOON_S) == "service"  # it came again when it was told to
    assert stack.row(patient.id).attempts == 1
    assert stack.events(patient.id, "retry") == []
    told = [e["data"]["to"] for e in stack.events(patient.id, "breaker")]
    assert told == ["half_open", "closed"]
    assert service.asked == 1


def test_a_chain_goes_on_when_a_breaker_opens_under_way(stack: Stack, service: Service) -> None:
    stack.worker()
    service.down()
    runs = [
        stack.client.fallback(["fragile", "other"], n, retry=RetryPolicy(base_delay_s=0.05))
        for n in range(8)
    ]
    assert [r.get(timeout=SOON_S) for r in runs] == ["backup"] * 8  # long before it is half open
    kinds = {stack.members(r.id)["fragile"].outcome["error"]["kind"] for r in runs}
    assert kinds <= {"breaker_open", "unavailable"}
    assert "breaker_open" in kinds
