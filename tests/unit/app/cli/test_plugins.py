"""``agents plugins``: how plug-ins stand, and what installs them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli import plugins as module
from app.cli.plugins import plugins
from app.settings import Settings
from tests.support.plugged import folder

ENTRIES = """
[agents.a]
kind = "greeter"

[tools.w]
kind = "plugin"
plugin = "Weather"

[plugins.bots]
[plugins.gone]
[plugins.quiet]
active = false
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    there = tmp_path / "plugins"
    code = "raise SystemExit"
    offers = {
        "kinds": {"kinds": {"greeter": ".:K"}},
        "weather": {"tools": {"now": ".:now", "then": ".:then"}},
        "bots": {"agents": {"bot": ".:bot"}},
        "quiet": {"patterns": {"p": "."}},
        "unused": {"tools": {"t": ".:t"}},
    }
    for name, about in offers.items():
        folder(there, name, {"name": name, **about}, __init__=code)
    folder(there, "broken", "{")
    (tmp_path / "agents.toml").write_text(ENTRIES)
    return tmp_path / "agents.toml"


def call(config: Path | None, *words: str, **about: Any) -> Result:
    folders = {} if config is None else {"plugin_dirs": [config.parent / "plugins"]}
    settings = Settings.model_validate({"config": config, **folders, **about})
    obj = SimpleNamespace(app=SimpleNamespace(agents_settings=settings))
    return CliRunner().invoke(plugins, words, obj=obj)


def test_how_each_stands(config: Path) -> None:
    done = call(config, "list", "--json")
    assert {row["name"]: row["status"] for row in json.loads(done.stdout)} == {
        "kinds": "named",
        "weather": "named",
        "bots": "active",
        "quiet": "installed",
        "unused": "installed",
        "broken": "unreadable",
        "gone": "missing",
    }
    everything = json.loads(call(config, "list", "--json", plugins="all").stdout)
    assert [r["name"] for r in everything if r["status"] == "active"] == ["bots"]
    shown = call(config, "list").stdout
    assert "tools: now, then" in shown
    assert "is no JSON" in shown


def test_one_is_activated_and_left(config: Path) -> None:
    for act, status in (("activate", "active"), ("deactivate", "installed")):
        assert call(config, act, "QUIET").exit_code == 0
        rows = json.loads(call(config, "list", "--json").stdout)
        assert [r["status"] for r in rows if r["name"] == "quiet"] == [status]
    assert config.read_text() == ENTRIES
    call(config, "deactivate", "gone")
    assert "[plugins.gone]\nactive = false" in config.read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["activate", "nobody"], "There is no plug-in 'nobody'"),
        (["activate", "broken"], "cannot be used"),
        (["deactivate", "nobody"], "There is no plug-in nobody"),
    ],
)
def test_what_cannot_be_activated(config: Path, words: list[str], told: str) -> None:
    done = call(config, *words)
    assert (done.exit_code, told in done.output) == (1, True), done.output
    assert config.read_text() == ENTRIES


def test_without_a_configuration() -> None:
    assert call(None, "list").exit_code == 0


class Installing:
    def __init__(self, code: int) -> None:
        self.code = code
        self.argv: list[str] = []

    def run(self, argv: list[str], *, check: bool) -> Any:
        assert not check
        self.argv = argv
        return SimpleNamespace(returncode=self.code)


@pytest.mark.parametrize(
    ("has_pip", "words", "argv"),
    [
        (True, ["acme==1.2"], [sys.executable, "-m", "pip", "install", "acme==1.2"]),
        (False, ["acme"], ["/bin/uv", "pip", "install", "--python", sys.executable, "acme"]),
    ],
)
def test_the_environments_installer_installs(
    monkeypatch: pytest.MonkeyPatch, words: list[str], argv: list[str], *, has_pip: bool
) -> None:
    installing = Installing(0)
    monkeypatch.setattr(module, "subprocess", installing)
    monkeypatch.setattr(module, "find_spec", lambda _: object() if has_pip else None)
    monkeypatch.setattr(module, "which", lambda _: "/bin/uv")
    assert call(None, "install", *words).exit_code == 0
    assert installing.argv == argv


def test_a_lock_is_held_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("acme==1 --hash=sha256:0\n")
    installing = Installing(1)
    monkeypatch.setattr(module, "subprocess", installing)
    monkeypatch.setattr(module, "find_spec", lambda _: object())
    done = call(None, "install", "acme", "--lock", str(lock))
    assert installing.argv[3:] == ["install", "--require-hashes", "-r", str(lock)]
    assert (done.exit_code, "was not installed" in done.output) == (1, True)


def test_options_of_the_installer_are_no_requirement() -> None:
    done = call(None, "install", "--", "--index-url=http://evil.example")
    assert (done.exit_code, "no option of the installer" in done.output) == (2, True)


def test_an_environment_without_an_installer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    monkeypatch.setattr(module, "which", lambda _: None)
    done = call(None, "install", "acme")
    assert (done.exit_code, "neither pip nor uv" in done.output) == (1, True)
