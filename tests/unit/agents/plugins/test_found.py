"""Plug-ins are found by what they say, and nothing of them is imported."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from agents.plugins import GROUPS, Plugin, PluginError, Plugins, PluginSource
from agents.plugins.found import canonical
from agents.plugins.serving import loaded
from celery_agents.errors import ConfigurationError
from tests.support.plugged import folder, package

FATAL = "import os\nos._exit(7)\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    there = tmp_path / "site"
    there.mkdir()
    monkeypatch.syspath_prepend(there)
    return there


def by_name(plugins: Plugins) -> dict[str, Plugin]:
    return {one.name: one for one in plugins.found}


def test_packages_and_folders_are_listed_without_an_import(site: Path, tmp_path: Path) -> None:
    points = {f"{entry}/mine": "fatal_plugin:thing" for entry in GROUPS.values()}
    package(site, "acme-fatal", points, {"fatal_plugin": FATAL})
    about = {"name": "weather", "version": "2", "tools": {"now": ".:now"}}
    path = folder(tmp_path / "plugins", "weather", about, __init__=FATAL)
    (tmp_path / "plugins" / "notes.txt").write_text("no plug-in")
    (tmp_path / "plugins" / "other").mkdir()
    found = by_name(PluginSource((tmp_path / "plugins",)).find())
    fatal, weather = found["acme-fatal"], found["weather"]
    assert (fatal.version, fatal.description, fatal.source) == (
        "1.0",
        "It is acme-fatal.",
        "package",
    )
    assert {o.group for o in fatal.offers} == {*GROUPS}
    assert {(o.name, o.value) for o in fatal.offers} == {("mine", "fatal_plugin:thing")}
    assert (weather.version, weather.folder, weather.source) == ("2", path, "folder")
    assert [(o.group, o.name, o.value) for o in weather.offers] == [("tools", "now", ".:now")]
    assert "fatal_plugin" not in sys.modules


def test_what_is_left_of_a_package_costs_itself_alone(site: Path) -> None:
    package(site, "acme-whole", {"celery_agents.tools/whole": "whole:thing"}, {})
    left = site / "acme_half-1.0.dist-info"
    left.mkdir()
    points = "[celery_agents.tools]\nhalf = acme_half.tools\n[celery_agents]\nodd = !!\n"
    (left / "entry_points.txt").write_text(points)
    plugins = PluginSource(all_active=True).find()
    found = by_name(plugins)
    assert found["acme-whole"].problem is None
    assert "Install it again" in str(found["acme_half"].problem)
    assert "The plug-in acme_half cannot be used" in "".join(plugins.unreadable())
    with pytest.raises(PluginError, match="its metadata cannot be read"):
        plugins.load(plugins.offered("tools")["half"])
    assert plugins.get("acme-whole") is found["acme-whole"]


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "plugin.json: "),
        ({}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "a", "tools": {"x": "../up:tool"}}, "tools"),
        ({"name": "a", "tools": {"x": "os:system; rm"}}, "tools"),
        ({"name": "a", "hooks": {}}, "hooks"),
        ('{"name": "' + "a" * 300_000 + '"}', "longer than"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_and_stops_nobody(
    tmp_path: Path, about: Any, words: str
) -> None:
    folder(tmp_path, "bad", about)
    folder(tmp_path, "good", {"name": "good"})
    plugins = PluginSource((tmp_path,)).find()
    found = by_name(plugins)
    assert words in str(found["bad"].problem)
    assert str(tmp_path / "bad" / "plugin.json") in str(found["bad"].problem)
    assert plugins.get("good") is found["good"]
    with pytest.raises(PluginError, match="'bad' cannot be used"):
        plugins.get("bad")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="AGENTS_PLUGIN_DIRS: there is no folder"):
        PluginSource((tmp_path / "nowhere",)).find()


@pytest.mark.parametrize(
    ("tables", "everything", "active"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"One_Two": {}}, False, True),
        ({"one.two": {"active": True}}, False, True),
        ({"one-two": {"active": False}}, True, False),
    ],
)
def test_one_is_active_where_the_configuration_says_so(
    tmp_path: Path, tables: Any, *, everything: bool, active: bool
) -> None:
    folder(tmp_path, "x", {"name": "one-two", "agents": {"a": "mod"}, "tools": {"t": "mod:t"}})
    plugins = PluginSource((tmp_path,), everything).find(tables)
    one = by_name(plugins)["one-two"]
    assert plugins.is_active(one) is active
    assert [o.name for o in plugins.activated("agents")] == ["a"] * active
    assert plugins.missing() == []


def test_what_is_active_and_not_there_is_missing() -> None:
    plugins = PluginSource().find({"gone": {}, "off": {"active": False}})
    assert plugins.missing() == ["gone"]


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ([], "tables like"),
        ({"a": 1}, r"\[plugins.a\] has one field"),
        ({"a": {"actve": True}}, r"\[plugins.a\] has one field"),
        ({"a": {"active": "yes"}}, r"\[plugins.a\] active"),
    ],
)
def test_tables_that_are_not_right(tables: Any, words: str) -> None:
    if tables == []:
        tables = ["x"]
    with pytest.raises(ConfigurationError, match=words):
        PluginSource().find(tables)


def test_two_of_one_name_cost_who_names_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder(tmp_path, name, {"name": "same", "kinds": {"k": ".:K"}})
    plugins = PluginSource((tmp_path,)).find()
    with pytest.raises(PluginError, match="Two plug-ins are named 'same'"):
        plugins.get("same")
    with pytest.raises(PluginError, match=r"'k' is offered by two plug-ins: same .*a.* and same"):
        plugins.load(plugins.offered("kinds")["k"])
    with pytest.raises(PluginError, match="no plug-in 'other'"):
        plugins.get("other")


def test_a_folder_that_takes_the_name_of_another_is_not_loaded_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither is the other: which of them is meant is not known."""
    folder(tmp_path, "a", {"name": "acme-tools", "agents": {"a": "."}}, __init__="x = 1")
    evil = {"name": "Acme.Tools", "agents": {"b": "."}, "kinds": {"k": ".:K"}}
    folder(tmp_path, "b", evil, __init__=FATAL)
    folder(tmp_path, "c", {"name": "good", "agents": {"c": ".:c"}}, __init__="c = 3")
    plugins = PluginSource((tmp_path,)).find({"acme-tools": {}, "good": {}})
    told: list[str] = []
    assert [*loaded(plugins, "agents", told.append)] == [("c", 3)]
    assert ["two plug-ins have its name" in line for line in told] == [True, True]
    assert all(str(tmp_path / name) in told[0] for name in ("a", "b"))
    with pytest.raises(PluginError, match="two plug-ins have its name"):
        plugins.load(plugins.offered("kinds")["k"])


def test_an_active_one_that_cannot_be_read_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder(tmp_path, "bad", "{")
    folder(tmp_path, "off", "{")
    told: list[str] = []
    assert [*loaded(PluginSource((tmp_path,)).find({"bad": {}}), "agents", told.append)] == []
    (line,) = told
    assert "The plug-in bad cannot be used" in line
    assert str(tmp_path / "bad" / "plugin.json") in line
    assert line in caplog.text


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("pipe", "folder", "loop"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "pipe" / "plugin.json")
    (tmp_path / "folder" / "plugin.json").mkdir()
    (tmp_path / "loop" / "plugin.json").symlink_to("plugin.json")
    folder(tmp_path, "good", {"name": "good"})
    found = by_name(PluginSource((tmp_path,)).find())
    assert {name: one.problem is None for name, one in found.items()} == {
        "folder": False,
        "good": True,
        "loop": False,
        "pipe": False,
    }


def test_what_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path, "closed", {"name": "closed"})
    folder(tmp_path, "good", {"name": "good"})
    stat = Path.stat

    def denied(path: Path, **about: Any) -> os.stat_result:
        if path.parent.name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **about)

    def denied_opening(path: Path) -> int:
        denied(path)
        return os.open(path, os.O_RDONLY)

    monkeypatch.setattr(Path, "stat", denied)  # a test may run as a user who may read all
    monkeypatch.setattr("agents.plugins.manifest._opened", denied_opening)
    found = by_name(PluginSource((tmp_path,)).find())
    assert "Permission denied" in str(found["closed"].problem)
    assert found["good"].problem is None


def test_names_are_compared_as_indexes_do() -> None:
    assert {canonical(n) for n in ("Acme.Tools", "acme-tools", "ACME__tools")} == {"acme-tools"}
