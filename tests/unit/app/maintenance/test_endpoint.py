from __future__ import annotations

import socket
import time
import urllib.request
from collections.abc import Iterator
from urllib.error import HTTPError

import pytest
from celery import Celery

from app.execution.runtime import Runtime
from app.maintenance import endpoint
from app.maintenance.endpoint import Endpoint
from app.maintenance.health import Probe, record
from app.settings import Settings
from celery_agents.errors import ConfigurationError


@pytest.fixture
def served(runtime: Runtime) -> Iterator[str]:
    made = Endpoint(runtime)  # port 0: any
    made.start()
    yield f"http://127.0.0.1:{made.port}"
    made.stop()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def test_alive_while_the_broker_is_away(served: str) -> None:
    assert get(f"{served}/healthz") == (200, "ok\n")
    status, text = get(f"{served}/readyz")
    assert (status, text) == (503, "broker away\njournal ok\n")
    assert get(f"{served}/other")[0] == 404


def test_ready(served: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "probe_broker", lambda _: Probe("broker"))
    assert get(f"{served}/readyz?x=1") == (200, "broker ok\njournal ok\n")
    runtime._stopped.set()
    try:
        assert get(f"{served}/readyz") == (503, "stopping\n")
        assert get(f"{served}/healthz")[0] == 200
    finally:
        runtime._stopped.clear()


def test_a_stuck_loop_wants_a_restart(
    served: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "LOOP_PATIENCE_S", 0.05)
    runtime.loop.loop.call_soon_threadsafe(time.sleep, 1.0)
    assert get(f"{served}/healthz") == (503, "the loop is stuck\n")


def test_gauges(served: str, runtime: Runtime) -> None:
    pytest.importorskip("prometheus_client")
    for _ in range(2):
        probes = [Probe("agent:a", "down"), Probe("agent:b", latency_ms=2.0)]
        record(runtime.journal, probes, runtime.settings)
    record(runtime.journal, [Probe("agent:new", "down")], runtime.settings)
    status, text = get(f"{served}/metrics")
    lines = text.splitlines()
    assert status == 200
    assert 'agents_healthy{target="agent:a"} 0.0' in lines
    assert 'agents_healthy{target="agent:b"} 1.0' in lines
    assert 'agents_probe_latency_seconds{target="agent:b"} 0.002' in lines
    assert not any("agents_healthy" in line and "agent:new" in line for line in lines)
    assert any(line.startswith('agents_probe_age_seconds{target="agent:a"}') for line in lines)


def test_a_port_that_is_taken(app: Celery, runtime: Runtime) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        values = runtime.settings.model_dump() | {"health_port": taken.getsockname()[1]}
        runtime.settings = Settings.model_construct(**values)
        with pytest.raises(ConfigurationError, match=r"health_port .* cannot be used"):
            Endpoint(runtime)


def test_the_words_tell_nothing_else(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "probe_broker", lambda _: Probe("broker", "redis://u:secret@h"))
    assert "secret" not in get(f"{served}/readyz")[1]
