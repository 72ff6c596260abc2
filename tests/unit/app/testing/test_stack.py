"""The environment of the test kit's worker; that it runs is tests/integration/test_kit.py's."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.testing.stack import AgentsStack

OTHERS = {
    "AGENTS_CACHE_URL": "redis://cache.example.com/0",
    "AGENTS_SECRETS_DIR": "/nowhere/secrets",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://traces.example.com",
    "OTEL_EXPORTER_OTLP_HEADERS": "api-key=x",
    "REDIS_URL": "redis://broker.example.com/0",
    "DATABASE_URL": "postgresql://journal.example.com/x",
}


@pytest.fixture
def _others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OTHERS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AGENTS_QUEUE", "mine")


@pytest.mark.usefixtures("_others")
def test_nothing_leads_to_what_is_somebody_elses(tmp_path: Path) -> None:
    stack = AgentsStack(tmp_path / "stack")
    stack.environ["REDIS_URL"] = "redis://127.0.0.1:1/0"  # as its start does
    assert not set(OTHERS.values()) & set(stack.environ.values())
    assert (stack.settings.cache_url, stack.settings.queue) == (None, "mine")


@pytest.mark.usefixtures("_others")
def test_what_is_asked_for_is_there(tmp_path: Path) -> None:
    wanted = {"AGENTS_CACHE_URL": "redis://127.0.0.1:2/0", "OTEL_SERVICE_NAME": "tests"}
    stack = AgentsStack(tmp_path / "stack", environ=wanted)
    assert {name: stack.environ.get(name) for name in wanted} == wanted
