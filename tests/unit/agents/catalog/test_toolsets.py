"""Toolsets of agents.toml: which tools they have, and what is wrong with them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from agents.catalog.toolsets import read_toolsets
from agents.kinds.model import ModelBackend
from agents.models.config import ModelConfig
from agents.net.clients import SharedClients
from agents.tools.base import tool
from agents.tools.toolbox import Toolbox
from agents.tools.toolset import FixedToolset, FunctionToolset
from agents.toolsets.builtin import catalogue
from agents.toolsets.kinds import ToolResources
from celery_agents.errors import ConfigurationError
from tests.support.memory_step import MemoryStep
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


def read(**table: Any) -> FixedToolset:
    resources = ToolResources(lambda _: None, ThreadPoolExecutor(1), SharedClients())
    found = read_toolsets(FILE, {"desk": table}, resources)["desk"]
    assert isinstance(found, FixedToolset)
    return found


def names(found: FixedToolset) -> list[str]:
    return [one.name for one in found.tools]


def test_built_in_tools_by_their_categories() -> None:
    found = read(kind="builtin", use=["text.*_text", "maths.calculate"], without=["text.h*"])
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
    assert names(read(kind="builtin", use=["*"])) == [
        n
        for n in names(read(kind="builtin", use=["*"], root=str(tmp_path)))
        if "file" not in n and n not in {"read_document", "apply_patch"}
    ]


def test_functions_of_ones_own_by_their_names() -> None:
    here = __name__
    assert names(read(kind="python", use=[f"{here}:find_*"])) == ["find_order"]
    found = read(kind="python", use=[f"{here}:*"], prefix="crm_", approve={"crm_s*": "ask"})
    assert [(t.name, t.policy.approve) for t in found.tools] == [
        ("crm_find_order", "never"),
        ("crm_send", "ask"),
    ]
    assert found.effects == "effect"
    assert send.name == "send"
    assert send.policy.approve == "never"  # other toolsets have it as it is


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"kind": "bulitin"}, "kind: 'bulitin' is none of builtin, python"),
        ({"kind": "builtin", "use": ["txet.*"]}, "'txet.*' fits no built-in tool of text, data"),
        ({"kind": "builtin", "use": ["text.*"], "without": ["text.x"]}, "'text.x' fits no"),
        ({"kind": "builtin", "use": ["text.*"], "prefex": "a"}, "prefex"),
        ({"kind": "builtin", "use": []}, "use"),
        ({"kind": "builtin", "use": ["dates.now"], "approve": {"no": "ask"}}, "like no"),
        ({"kind": "builtin", "use": ["dates.now"], "pin": "nowhere"}, "no nowhere"),
        ({"kind": "builtin", "use": ["files.*"]}, "'files.*' needs root"),
        ({"kind": "builtin", "use": ["files.*"], "root": "nowhere"}, "no folder nowhere"),
        ({"kind": "python", "use": [f"{__name__}:x*"]}, "fits no tool"),
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
