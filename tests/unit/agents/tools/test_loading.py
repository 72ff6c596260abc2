from __future__ import annotations

from typing import Any

import pytest

from agents.tools import Tool, tool
from agents.tools.loading import load_tool, load_tools
from celery_agents.errors import ConfigurationError
from tests.support import toolsets

AT = toolsets.__name__


@tool(effects="pure")
def known(text: str) -> str:
    return text


@tool(name="known")
def known_again(text: str) -> str:
    return text


def plain(text: str) -> str:
    return text.upper()


def test_load_tool() -> None:
    found = load_tool(f"{__name__}:plain")
    assert load_tool(f"{__name__}:known") is known
    assert isinstance(found, Tool)
    assert (found.name, found.effects) == ("plain", "effect")


@pytest.mark.parametrize(
    "path", ["", "os", "os:", ":f", "no_such_module:f", "os:no_such", "os:environ"]
)
def test_tools_that_are_not_there(path: str) -> None:
    with pytest.raises(ConfigurationError):
        load_tool(path)


def test_functions_and_toolsets_stand_side_by_side() -> None:
    paths = [f"{AT}:desk", f"{__name__}:known", f"{AT}:charging", f"{__name__}:plain"]
    tools, found, *_ = load_tools(paths, who="m")
    assert [t.name for t in tools] == ["known", "plain"]
    assert found == [toolsets.desk, toolsets.charging]


def test_code_gives_them_as_they_are() -> None:
    assert load_tools([known, toolsets.desk], who="m") == ([known], [toolsets.desk], [], [])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Desk", "Desk is a class"),
        (
            "NUMBER",
            "int is no Toolset: it has no name, no effects, no problem, no specs",
        ),
        ("nameless", "its name is no text"),
        ("careless", "its effects are none of pure, idempotent, effect"),
        ("sync", r"its call is no coroutine function \(async def\)"),
        ("lacking", "it has no effects, no problem, no specs, no aclose"),
    ],
)
def test_what_is_no_toolset_is_found_at_the_start(name: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{AT}:{name} is neither .*{told}"):
        load_tool(f"{AT}:{name}")


@pytest.mark.parametrize(
    ("sources", "told"),
    [
        ([f"{__name__}:known", f"{__name__}:known_again"], "tools of m have the name 'known'"),
        ([f"{__name__}:known", f"{__name__}:known"], "tools of m have the name 'known'"),
        ([f"{AT}:desk", f"{AT}:other_desk"], "toolsets of m have the name 'desk'"),
    ],
)
def test_names_that_clash_are_told_with_both(sources: list[Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        load_tools(sources, who="m")
    assert f": {sources[0]} and {sources[1]}." in caught.value.message
