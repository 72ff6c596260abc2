from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.bin.celery import celery
from pydantic import SecretStr, ValidationError
from pydantic_settings import EnvSettingsSource

from app.embedding import install
from app.environment import SetVariables
from app.settings import Settings, read_settings
from celery_agents.errors import ConfigurationError
from celery_agents.sealing import key_id
from deploy.local.state import ROOT
from tests.support import forks
from tests.support.fernet import fernet_key
from tests.support.service import CHECKOUT


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n in {"REDIS_URL", "DATABASE_URL"} or "AGENTS_" in n]:
        monkeypatch.delenv(name)


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


def test_variables_are_read_as_pydantic_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are set: in any case of their letters, as JSON, as lists, empty ones."""
    for name, value in {
        "REDIS_URL": "redis://localhost/7",
        "agents_lease_s": "9",
        "AGENTS_MODULES": '["a.b", "c"]',
        "AGENTS_JWT_KEYS": "x,y",
        "AGENTS_CONFIG": "",
        "AGENTS_PLUGIN_DIRS": "/a",
    }.items():
        monkeypatch.setenv(name, value)
    found = SetVariables(Settings)()
    assert found == EnvSettingsSource(Settings)()
    assert len(found) == 5


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
        "_tokens",
        "_days",
        "_batch",
        "_max",
        "_threads",
        "concurrency",  # Celery's word
        "_port",
        "_depth",
        "_steps",
        "_handoffs",
        "_failures",
        "_successes",
    )
    for name, field in Settings.model_fields.items():
        if field.annotation in {int, float}:
            assert name.endswith(units), name


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().lease_s = 1  # type: ignore[misc]  # read-only, as it has to be


KEY = "sk-live-" + "0123456789abcdef0123456789"
GOOD, OTHER = fernet_key("good"), fernet_key("other")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("AGENTS_LEASE_S", "soon", "a number, and not 'soon'"),
        ("AGENTS_LEASE_S", "nan", "a finite number"),
        ("AGENTS_POLL_INTERVAL_S", "0", "more than 0"),
        ("AGENTS_KEEP_DAYS", "-1", "0 or more"),
        ("AGENTS_CONCURRENCY", "1.5", "a whole number"),
        ("AGENTS_CONCURRENCY", "0", "more than 0"),
        ("AGENTS_PAYLOAD_LIMIT_BYTES", "256kB", "a whole number, and not '256kB'"),
        ("AGENTS_HEALTH_PORT", "65536", "65535 or less"),
        ("AGENTS_MODULES", '["a"', "a list of names, separated by commas or as JSON"),
        ("AGENTS_MODULES", "[1]", "a text"),
        ("AGENTS_WAKE_BATCH", KEY, "a whole number"),
    ],
)
def test_a_wrong_value_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        read_settings()
    text = str(caught.value)
    assert text.startswith(f"{name} cannot be read: it has to be {told}")
    for word in ("pydantic", "Input", "type=", "Settings", KEY):
        assert word not in text


def test_all_that_is_wrong_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTS_LEASE_S", "x")
    monkeypatch.setenv("AGENTS_WAKE_BATCH", "y")
    with pytest.raises(ConfigurationError, match=r"AGENTS_LEASE_S .* AGENTS_WAKE_BATCH "):
        read_settings()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("AGENTS_LEASE", "AGENTS_LEASE_S"),
        ("AGENTS_HEARTBEAT_S", "AGENTS_HEARTBEAT_INTERVAL_S"),
        ("AGENTS_CONCURENCY", "AGENTS_CONCURRENCY"),
        ("AGENTS_MODULE", "AGENTS_MODULES"),
        ("agents_modul", "AGENTS_MODULES"),
        ("AGENTS_REDIS_URL", "REDIS_URL"),
        ("AGENTS_DATABASE_URL", "DATABASE_URL"),
        ("AGENTS_XYZ", None),
    ],
)
def test_a_variable_that_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, meant: str | None
) -> None:
    monkeypatch.setenv(name, KEY)
    read_settings()
    (line,) = caplog.messages
    assert line.startswith(f"{name} is no setting, and changes nothing")
    assert line.endswith(f"; did you mean {meant}?" if meant else "docs/settings.md lists them.")


def test_settings_and_keys_of_agents_are_not_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    config = tmp_path / "agents.toml"
    config.write_text('[agents.a]\nkey_env = "AGENTS_SHOP_KEY"\n')
    monkeypatch.setenv("AGENTS_CONFIG", str(config))
    monkeypatch.setenv("AGENTS_SHOP_KEY", KEY)
    monkeypatch.setenv("agents_lease_s", "5")
    monkeypatch.setenv("MY_AGENTS_LEASE", "5")
    assert read_settings().lease_s == 5
    assert caplog.messages == []
    config.unlink()
    read_settings()  # the loader tells of that
    assert [m.split()[0] for m in caplog.messages] == ["AGENTS_SHOP_KEY"]


def test_commands_say_so_without_a_traceback() -> None:
    env = CHECKOUT.environment({"AGENTS_LEASE_S": "soon"})
    done = forks.run(CHECKOUT.celery("-A", "app", "report"), env, ROOT, 60)
    assert done.returncode == 1
    told = "AGENTS_LEASE_S cannot be read: it has to be a number, and not 'soon'."
    assert done.stderr.strip() == f"configuration: {told}"


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


@pytest.mark.parametrize("value", [f'["{KEY}', KEY, f"{GOOD},{KEY}"])
def test_keys_are_told_wrong_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("AGENTS_FERNET_KEYS", value)
    with pytest.raises(ConfigurationError, match="AGENTS_FERNET_KEYS") as caught:
        read_settings()
    assert KEY not in str(caught.value)
    assert GOOD not in str(caught.value)


def test_keys_of_a_file_come_behind_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert Settings().seals is None
    (tmp_path / "keys").write_text(f"{GOOD}\n")
    monkeypatch.setenv("AGENTS_FERNET_KEYS_FILE", str(tmp_path / "keys"))
    settings = Settings(fernet_keys=(SecretStr(OTHER),))
    assert settings.seals is not None
    assert settings.seals.ids == (key_id(OTHER), key_id(GOOD))
    assert OTHER not in repr(settings)


def test_mounted_secrets_stand_for_variables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As Kubernetes mounts them, with links; what is set already stays."""
    data = tmp_path / "..data"
    data.mkdir()
    for name, value in {"REDIS_URL": "redis://mounted/1\n", "OPENAI_API_KEY": "sk-1"}.items():
        (data / name).write_text(value)
        (tmp_path / name).symlink_to(data / name)
    (tmp_path / "valkey.acl").write_text("user default off")
    (tmp_path / "DATABASE_URL").write_text("sqlite:///mounted.db")
    for name in ("REDIS_URL", "OPENAI_API_KEY"):  # what is set here goes with the test
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("AGENTS_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "sqlite:///said.db")
    found = read_settings()
    assert found.broker.where == "mounted:6379"
    assert found.database_url.get_secret_value() == "sqlite:///said.db"
    assert found.secret("OPENAI_API_KEY") == "sk-1"
    assert not {"..data", "valkey.acl"} & os.environ.keys()


def test_an_app_with_the_service_has_them_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "DATABASE_URL").write_text("sqlite:///mounted.db")
    monkeypatch.setenv("AGENTS_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "")
    app: Any = install(Celery("theirs", broker="redis://h/2", set_as_current=False))
    assert app.agents_settings.database_url.get_secret_value() == "sqlite:///mounted.db"


@pytest.mark.parametrize("content", [b"\xff", b"a\0b", None])
def test_a_secret_that_cannot_be_read_is_told_by_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "OPENAI_API_KEY").write_bytes(content)
    folder = tmp_path if content is not None else tmp_path / "nowhere"
    monkeypatch.setenv("AGENTS_SECRETS_DIR", str(folder))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match=r"^AGENTS_SECRETS_DIR: .*(API_KEY|nowhere)"):
        read_settings()
