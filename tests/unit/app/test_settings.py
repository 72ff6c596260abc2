from __future__ import annotations

from pathlib import Path

import pytest
from celery.bin.celery import celery
from pydantic import ValidationError

from app.settings import Settings, read_settings
from celery_agents.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_the_environment_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "REDIS_URL": "redis://r/1",
        "DATABASE_URL": "postgresql://u:hunter2@h/d",
        "AGENTS_CONFIG": "agents.toml",
        "AGENTS_MODULES": '["my_app.agents", "other"]',
        "AGENTS_QUEUE": "mine",
        "AGENTS_LEASE_S": "2.5",
        "AGENTS_UNHEARD_OF": "1",
        "LEASE_S": "99",
    }.items():
        monkeypatch.setenv(name, value)
    found = Settings()
    assert found.redis_url.get_secret_value() == "redis://r/1"
    assert found.database_url.get_secret_value() == "postgresql://u:hunter2@h/d"
    assert (found.config, found.modules) == (Path("agents.toml"), ("my_app.agents", "other"))
    assert (found.queue, found.lease_s) == ("mine", 2.5)
    assert "hunter2" not in repr(found)


def test_every_setting_has_a_name_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, field in Settings.model_fields.items():
        if field.annotation in {int, float}:
            monkeypatch.setenv(f"AGENTS_{name.upper()}", "77")
    found = Settings()
    for name, field in Settings.model_fields.items():
        if field.annotation in {int, float}:
            assert getattr(found, name) == 77, name


def test_the_defaults_hold_together() -> None:
    s = Settings()
    assert 3 * s.heartbeat_interval_s <= s.lease_s  # two heartbeats may be missed
    # A dead worker's steps run elsewhere: at the latest, and in the middle, with a second to spare.
    assert s.lease_s + s.recovery_interval_s <= 12
    assert s.lease_s - s.heartbeat_interval_s / 2 + s.recovery_interval_s / 2 <= 7
    assert s.lease_s - s.heartbeat_interval_s >= 5  # a restarted database, a busy machine
    assert s.step_timeout_s * 10 < s.visibility_timeout_s
    assert s.countdown_limit_s < s.visibility_timeout_s
    assert s.payload_limit_bytes == 256 * 1024


def test_units_stand_in_the_names() -> None:
    units = (
        "_s",
        "_bytes",
        "_days",
        "_batch",
        "_max",
        "_threads",
        "concurrency",  # Celery's word
        "_port",
        "_failures",
        "_successes",
    )
    for name, field in Settings.model_fields.items():
        if field.annotation in {int, float}:
            assert name.endswith(units), name


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().lease_s = 1  # type: ignore[misc]  # read-only, as it has to be


def test_a_wrong_value_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTS_LEASE_S", "soon")
    with pytest.raises(ValidationError, match="lease_s"):
        Settings()


def test_secrets_are_read_when_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings()
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert settings.secret("OPENAI_API_KEY") == "k"
    monkeypatch.setenv("OPENAI_API_KEY", "")
    assert settings.secret("OPENAI_API_KEY") is None
    assert settings.secret("NO_SUCH_KEY") is None


@pytest.mark.parametrize("name", ["REDIS_URL", "DATABASE_URL", "AGENTS_CONFIG", "AGENTS_LEASE_S"])
def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")
    assert Settings() == Settings.model_construct()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "amqp://guest:hunter2@h//"),
        ("REDIS_URL", "redis://:hunter2#x@h"),
        ("REDIS_URL", " "),
        ("DATABASE_URL", "mysql://u:hunter2@h/d"),
        ("DATABASE_URL", "postgresql://u:hunter2@h/d?foo=1"),
    ],
)
def test_addresses_are_read_at_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^{name} cannot be read") as error:
        read_settings()
    assert "hunter2" not in str(error.value)


def test_the_command_line_stands_for_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://variable/1")
    assert read_settings().broker.where == "variable:6379"
    with celery.make_context("celery", ["-b", "redis://said/2", "worker"]):
        assert read_settings().broker.where == "said:6379"
    with (
        celery.make_context("celery", ["--result-backend", "rpc://", "worker"]),
        pytest.raises(ConfigurationError, match="--result-backend is not served"),
    ):
        read_settings()
