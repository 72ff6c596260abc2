"""The tables ``[memory.NAME]``: their backends, built in and of plug-ins."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.catalog.memories import read_backends, read_memories
from agents.memory.backends import MemoryBackend
from agents.plugins import PluginError, PluginSource
from agents.plugins.loading import PACKAGE
from agents.toolsets.memory import memory_tools
from celery_agents.errors import ConfigurationError
from tests.support.plugged import folder

FILE = Path("agents.toml")


def backends(folder: Path, **table: Any) -> dict[str, MemoryBackend]:
    found = read_memories(FILE, {"customers": {"space": "s", **table}})
    return read_backends(FILE, found, PluginSource((folder,)).find())


@pytest.fixture
def plugged(tmp_path: Path) -> Iterator[Path]:
    code = (
        "class Mine:\n    def find(self, space): return {1: 2}\n"
        "class Odd:\n    pass\n"
        "class Needy:\n    def __init__(self, url): pass\n"
        "made = Mine()\n"
    )
    names = {"mine": ".:Mine", "made": ".:made", "odd": ".:Odd", "needy": ".:Needy", "no": ".:no"}
    folder(tmp_path, "graphs", {"name": "graphs", "memory": names}, __init__=code)
    yield tmp_path
    for name in [m for m in sys.modules if m.startswith(PACKAGE)]:
        del sys.modules[name]


def test_a_plug_in_offers_a_backend_that_is_imported_where_a_memory_names_it(
    plugged: Path,
) -> None:
    space: Any = None
    for name in ("mine", "made"):
        assert backends(plugged, backend=name)[name].find(space) == {1: 2}
    for built_in in ("sql", "graph", None):
        assert backends(plugged, backend=built_in) == {}
    assert backends(plugged, backend="vector", embed="embedder") == {}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("odd", "graphs .*memory: odd .*no MemoryBackend: it has no find"),
        ("needy", "graphs .*memory: needy .*TypeError"),
        ("no", "graphs .*has no no"),
    ],
)
def test_one_that_cannot_be_used_fails_recalls_of_its_memories(
    plugged: Path, name: str, told: str
) -> None:
    found = backends(plugged, backend=name)
    space: Any = None
    with pytest.raises(PluginError, match=told):
        found[name].find(space)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"backend": "grahp"}, r"\[memory.customers\] backend: there is no 'grahp'.*'graph'"),
        ({"backend": "vector"}, "needs embed"),
        ({"backend": "sql", "embed": "embedder"}, "compares words alone"),
    ],
)
def test_what_is_not_right_stops_the_start(plugged: Path, table: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        backends(plugged, **table)


def test_a_model_is_told_of_links_where_they_are_followed() -> None:
    def parameters(**table: Any) -> set[str]:
        (tools,) = memory_tools(["c"], read_memories(FILE, {"c": {"space": "s", **table}}))
        (remember,) = (one for one in tools.tools if one.name == "remember")
        told: Any = remember.parameters["properties"]
        return {*told}

    assert parameters(backend="graph") - parameters() == {"about"}
