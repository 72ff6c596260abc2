"""Toolsets of agents.toml: which tools they have, and what is wrong with them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import pytest

from agents.catalog.toolsets import read_toolsets
from agents.kinds.model import ModelBackend
from agents.models.config import ModelConfig
from agents.net.clients import SharedClients
from agents.plugins import PluginError, PluginSource
from agents.plugins.loading import PACKAGE
from agents.tools.base import tool
from agents.tools.toolbox import Toolbox
from agents.tools.toolset import FixedToolset, FunctionToolset, Toolset
from agents.toolsets.builtin import catalogue
from agents.toolsets.kinds import ToolResources
from celery_agents.errors import ConfigurationError
from tests.support.memory_step import MemoryStep
from tests.support.plugged import folder
from tests.unit.agents.kinds.test_model import ListedProvider

FILE = Path("agents.toml")


@tool(effects="idempotent")
def find_order(number: int) -> int:
    """Finds an order."""
    return number


@tool(effects="effect")
def send(text: str) -> None:
    """Sends it."""


def plain() -> None:
    """Not a tool by itself."""


SEARCH = {"engine": "searxng", "url": "http://127.0.0.1:8888"}


def read(**table: Any) -> FixedToolset:
    resources = ToolResources(lambda _: None, ThreadPoolExecutor(1), SharedClients())
    found = read_toolsets(FILE, {"desk": table}, resources)["desk"]
    assert isinstance(found, FixedToolset)
    return found


def names(found: FixedToolset) -> list[str]:
    return [one.name for one in found.tools]


def test_built_in_tools_by_their_categories() -> None:
    found = read(kind="builtin", use=["text.*_text", "maths.calculate"], exclude=["text.h*"])
    assert {"count_text", "calculate"} < {*names(found)}
    assert not {"hash_text", "html_to_markdown", "compare_texts", "now"} & {*names(found)}
    assert found.effects == "pure"
    assert read(kind="builtin", use=["dates.now"]).effects == "idempotent"


def test_tools_of_files_need_a_root(tmp_path: Path) -> None:
    found = read(kind="builtin", use=["files.*", "dates.now"], root=str(tmp_path))
    assert len(found.tools) == 13
    assert {t.name for t in found.tools if t.policy.approve == "ask"} == {
        "delete_file",
        "move_file",
    }
    assert "root" not in dict(found.tools[0].parameters["properties"])  # type: ignore[arg-type]
    assert asyncio.run(found.call("list_files", {}, key="k", step=MemoryStep())) == {
        "entries": [],
        "more": False,
    }


def test_tools_are_offered_where_they_have_what_they_need(tmp_path: Path) -> None:
    every = {name.partition(".")[2] for name in catalogue.functions()}
    files = {f.__name__ for f in catalogue.CATEGORIES["files"]} | {"download_file"}
    assert len(every) == 72
    assert {*names(read(kind="builtin", use=["*"]))} == every - files - {"web_search"}
    searched = read(kind="builtin", use=["web.*"], search=SEARCH, secrets=["A_TOKEN@x.org"])
    assert every - {*names(searched)} >= {"download_file"}
    assert "web_search" in names(searched)
    assert {*names(read(kind="builtin", use=["*"], root=str(tmp_path), search=SEARCH))} == every


def test_functions_of_ones_own_by_their_names() -> None:
    here = __name__
    assert names(read(kind="python", use=[f"{here}:find_*"])) == ["find_order"]
    found = read(kind="python", use=[f"{here}:*"], prefix="crm_", approve={"crm_s*": "ask"})
    assert [(t.name, t.policy.approve) for t in found.tools] == [
        ("crm_find_order", "never"),
        ("crm_send", "ask"),
    ]
    rest = read(kind="python", use=[f"{here}:*"], prefix="crm_", exclude=["se*"])
    assert names(rest) == ["crm_find_order"]
    assert found.effects == "effect"
    assert send.name == "send"
    assert send.policy.approve == "never"  # other toolsets have it as it is


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"kind": "bulitin"}, "kind: 'bulitin' is none of builtin, python"),
        ({"kind": "builtin", "use": ["txet.*"]}, "'txet.*' fits no built-in tool of text, data"),
        (
            {"kind": "builtin", "use": ["text.*"], "exclude": ["text.x"]},
            "exclude: 'text.x'",
        ),
        ({"kind": "builtin", "use": ["text.*"], "prefex": "a"}, "prefex"),
        ({"kind": "builtin", "use": []}, "use"),
        ({"kind": "builtin", "use": ["dates.now"], "approve": {"no": "ask"}}, "like no"),
        ({"kind": "builtin", "use": ["dates.now"], "pin": "nowhere"}, "no nowhere"),
        ({"kind": "builtin", "use": ["files.*"]}, "'files.*' needs root"),
        ({"kind": "builtin", "use": ["web.web_search"]}, "'web.web_search' needs search = {"),
        ({"kind": "builtin", "use": ["web.download_file"]}, "needs root"),
        ({"kind": "builtin", "use": ["web.*"], "secrets": ["A_TOKEN"]}, "secrets"),
        ({"kind": "builtin", "use": ["web.*"], "search": {"engine": "brave"}}, "needs key_env"),
        ({"kind": "builtin", "use": ["web.*"], "search": {"engine": "searxng"}}, "needs url"),
        ({"kind": "builtin", "use": ["files.*"], "root": "nowhere"}, "no folder nowhere"),
        ({"kind": "python", "use": [f"{__name__}:x*"]}, "fits no tool"),
        ({"kind": "python", "use": [f"{__name__}:*"], "exclude": ["y*"]}, "like y*"),
        ({"kind": "python", "use": ["no_such_module:*"]}, "cannot be imported"),
        ({"kind": "python", "use": [f"{__name__}:nothing"]}, "cannot be loaded"),
    ],
)
def test_what_is_not_right_is_told_with_its_place(table: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=r"agents.toml: \[tools.desk\]") as caught:
        read(**table)
    assert told in caught.value.message


def test_a_package_that_is_missing_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "find_spec", lambda n: None if n == "re2" else find_spec(n))
    with pytest.raises(ConfigurationError, match=r"re2 .*celery-agents\[tools\]"):
        read(kind="builtin", use=["text.*"])
    assert names(read(kind="builtin", use=["dates.now"])) == ["now"]


def test_an_agent_names_a_toolset() -> None:
    found = read(kind="builtin", use=["maths.calculate"])

    def backend(name: str) -> ModelBackend:
        config = ModelConfig(provider="openai", model="m", tools=(name,))
        return ModelBackend(config, ListedProvider(()), toolsets={"desk": found})

    assert backend("desk").effects == "pure"
    with pytest.raises(ConfigurationError, match=r"no \[tools.desk2\].*'desk'"):
        backend("desk2")


def test_fixed_tools_need_no_call_of_the_step() -> None:
    found = read(kind="builtin", use=["maths.calculate"])
    step = MemoryStep()
    box = Toolbox(FunctionToolset("none"), [found], list_timeout_s=1)
    assert [*asyncio.run(box.offered(step)).tools] == ["calculate"]
    assert step.calls == []


@pytest.fixture
def plugged(tmp_path: Path) -> Iterator[Path]:
    code = (
        "from celery_agents import tool\n"
        "@tool(effects='pure')\ndef now(town: str) -> str:\n    'Tells it.'\n    return town\n"
        "@tool(effects='effect')\ndef rain(town: str) -> str:\n    'Makes it.'\n    return town\n"
        "class Lists:\n    name, effects = 'lists', 'pure'\n"
        "    async def specs(self, step): return [now]\n"
        "    async def call(self, name, arguments, *, key, step): return name\n"
        "    def problem(self, name, arguments): return None\n"
        "    async def aclose(self): pass\n"
        "lists = Lists()\nnumber = 1\n"
    )
    about = {"all": ".", "one": ".:now", "lists": ".:lists", "number": ".:number", "gone": ".:gone"}
    folder(tmp_path, "weather", {"name": "weather", "tools": about}, __init__=code)
    folder(tmp_path, "empty", {"name": "empty", "kinds": {"x": ".:x"}})
    yield tmp_path
    for name in [m for m in sys.modules if m.startswith(PACKAGE)]:
        del sys.modules[name]


def read_plugged(folder: Path, **table: Any) -> Toolset:
    plugins = PluginSource((folder,)).find()
    resources = ToolResources(
        lambda _: None, ThreadPoolExecutor(1), SharedClients(), plugins=plugins
    )
    given = {"kind": "plugin", "plugin": "weather", **table}
    return read_toolsets(FILE, {"desk": given}, resources)["desk"]


def test_tools_of_a_plug_in(plugged: Path) -> None:
    found = read_plugged(plugged, use=["all"], prefix="w_", approve={"w_rain": "ask"})
    assert isinstance(found, FixedToolset)
    assert {t.name: t.policy.approve for t in found.tools} == {"w_now": "never", "w_rain": "ask"}
    one = read_plugged(plugged, use=["one"])
    assert isinstance(one, FixedToolset)
    assert names(one) == ["now"]
    rest = read_plugged(plugged, use=["all"], prefix="w_", exclude=["ra*"])
    assert isinstance(rest, FixedToolset)
    assert names(rest) == ["w_now"]
    none = read_plugged(plugged, use=["lists"], exclude=["now"])
    assert asyncio.run(none.specs(cast("Any", None))) == []
    lists = read_plugged(plugged, use=["lists"], prefix="w_")
    assert [s.name for s in asyncio.run(lists.specs(cast("Any", None)))] == ["w_now"]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"use": ["al"]}, r"offers no tools 'al'.*'all'"),
        ({"use": ["lists", "one"]}, "is a toolset"),
        ({"use": ["lists"], "approve": {"now": "ask"}}, "is a toolset"),
        ({"plugin": "empty"}, "offers no tools"),
    ],
)
def test_a_table_of_a_plug_in_that_is_not_right(
    plugged: Path, table: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"\[tools.desk\] .*{words}"):
        read_plugged(plugged, **table)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"use": ["number"]}, "plug-in weather .*tools: number"),
        ({"use": ["gone"]}, "plug-in weather .*has no gone"),
        ({"plugin": "nowhere"}, "no plug-in 'nowhere'"),
    ],
)
def test_tools_of_a_plug_in_that_cannot_be_used_fail_when_they_are_asked_for(
    plugged: Path, table: dict[str, Any], words: str
) -> None:
    found = read_plugged(plugged, **table)
    with pytest.raises(PluginError, match=rf"\[tools.desk\] .*{words}"):
        asyncio.run(found.specs(cast("Any", None)))
