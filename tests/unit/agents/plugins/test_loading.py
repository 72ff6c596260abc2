"""A plug-in that fails, exits or hangs costs itself, and the error names it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.plugins import PluginError, Plugins, PluginSource
from agents.plugins.loading import PACKAGE
from agents.plugins.serving import loaded
from tests.support.plugged import folder


@pytest.fixture
def plugins(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for name in [m for m in sys.modules if m.startswith(PACKAGE)]:
        del sys.modules[name]


def found(parent: Path, limit_s: float = 20.0, *, everything: bool = True) -> Plugins:
    return PluginSource((parent,), everything, limit_s).find()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise ValueError('of password=hunter22')", "ValueError: of password=[^h]"),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
        ("import no_such_module_there", "ModuleNotFoundError"),
        ("x = (", "SyntaxError"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("other = 1", r"\. has no thing"),
        ("def __getattr__(name): raise ValueError(name)", "ValueError: thing"),
        (
            "class Mute(Exception):\n  def __str__(self): raise ValueError\nraise Mute",
            "failed with Mute",
        ),
    ],
)
def test_one_that_cannot_be_imported_is_named(plugins: Path, code: str, words: str) -> None:
    folder(plugins, "x", {"name": "bad", "version": "3", "tools": {"t": ".:thing"}}, __init__=code)
    there = found(plugins)
    for _ in range(2):  # the second time, too: a half-imported module is not taken for a whole one
        with pytest.raises(PluginError, match=words) as caught:
            there.load(there.offered("tools")["t"])
        assert f"plug-in bad 3 in {plugins / 'x'}" in caught.value.message
        assert "hunter22" not in caught.value.message


def test_one_that_hangs_is_left_after_its_time(plugins: Path) -> None:
    code = "import time\ntime.sleep(60)\nthing = 1"
    folder(plugins, "x", {"name": "slow", "tools": {"t": ".:thing"}}, __init__=code)
    there = found(plugins, 0.2)
    began = time.monotonic()
    with pytest.raises(PluginError, match=r"has not ended within 0\.2 s"):
        there.load(there.offered("tools")["t"])
    with pytest.raises(PluginError, match="has not ended so far"):  # it is not waited for again
        there.load(there.offered("tools")["t"])
    assert time.monotonic() - began < 30


def test_an_attribute_that_hangs_is_left_after_its_time(plugins: Path) -> None:
    code = "import time\ndef __getattr__(name):\n    time.sleep(60)"
    folder(plugins, "x", {"name": "lazy", "tools": {"t": ".:thing"}}, __init__=code)
    there = found(plugins, 0.2)
    began = time.monotonic()
    with pytest.raises(PluginError, match=r"has not ended within 0\.2 s"):
        there.load(there.offered("tools")["t"])
    assert time.monotonic() - began < 30


def test_folders_of_one_name_are_two_modules(plugins: Path) -> None:
    """One that was moved, or stands in another service of the process."""
    for place in ("one", "two"):
        about = {"name": "same", "tools": {"t": ".:thing", "i": "inner:thing"}}
        code = f"thing = '{place}'"
        folder(plugins / place, "x", about, __init__=code, inner=code)
        there = found(plugins / place)
        for name in ("t", "i"):
            assert there.load(there.offered("tools")[name]) == place


def test_modules_of_folders_shadow_nothing(plugins: Path) -> None:
    inside = "from .json import thing"
    about = {"agents": {"a": ".:thing", "b": "json:thing", "c": "json"}}
    for name in ("one", "two"):
        folder(plugins, name, {"name": name, **about}, __init__=inside, json=f"thing = '{name}'")
    folder(plugins, "bare", {"name": "bare", "agents": {"b": "json:thing"}}, json="thing = 3")
    import json

    there = found(plugins)
    offers = {(o.plugin, o.name): o.load(20.0) for o in there.activated("agents")}
    assert offers["one", "a"] == offers["one", "b"] == offers["one", "c"].thing == "one"
    assert (offers["two", "a"], offers["two", "b"], offers["bare", "b"]) == ("two", "two", 3)
    assert sys.modules["json"] is json


def test_what_is_active_is_loaded_without_what_is_broken(
    plugins: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder(plugins, "a", {"name": "good", "agents": {"a": ".:thing"}}, __init__="thing = 1")
    folder(plugins, "b", {"name": "bad", "agents": {"b": ".:thing"}}, __init__="1 / 0")
    folder(plugins, "c", {"name": "off", "agents": {"c": ".:thing"}}, __init__="1 / 0")
    tables: dict[str, Any] = {"good": {}, "bad": {}, "gone": {}}
    told: list[str] = []
    there = PluginSource((plugins,)).find(tables)
    assert list(loaded(there, "agents", told.append)) == [("a", 1)]
    assert ["gone" in told[0], "plug-in bad" in told[1]] == [True, True]
    assert len(told) == 2
    assert all(line in caplog.text for line in told)
