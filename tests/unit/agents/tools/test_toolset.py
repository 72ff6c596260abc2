from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.tools import FunctionToolset, Tool, ToolError, Toolset, tool
from celery_agents.errors import ConfigurationError
from tests.support.toolsets import charge, fail, find


def plain(text: str) -> str:
    return text.upper()


@pytest.mark.parametrize(
    ("functions", "effects"),
    [([], "pure"), ([find], "pure"), ([find, charge], "effect"), ([plain], "effect")],
)
def test_functions_have_the_worst_of_their_effects(functions: list[Any], effects: str) -> None:
    assert FunctionToolset("f", *functions).effects == effects


def test_functions_are_listed_and_called(step: Any) -> None:
    async def main() -> None:
        functions = FunctionToolset("f", find, plain, fail)
        assert [t.name for t in await functions.specs(step)] == ["find", "plain", "fail"]
        assert await functions.call("find", {"number": 3}, key="k", step=step) == {"number": 3}
        assert await functions.call("plain", {"text": "x"}, key="k", step=step) == "X"
        wrong: list[tuple[str, Any]] = [("fail", {"text": "x"}), ("find", {}), ("fly", {})]
        for name, arguments in wrong:
            with pytest.raises(ToolError):
                await functions.call(name, arguments, key="k", step=step)
        await functions.aclose()

    asyncio.run(main())


def test_two_functions_of_one_name() -> None:
    with pytest.raises(ConfigurationError, match="Two tools of the toolset 'f'"):
        FunctionToolset("f", find, tool(name="find")(plain))


def test_a_toolset_without_its_methods_is_not_made() -> None:
    class Half(Toolset):
        name = "half"
        effects = "pure"

        async def specs(self, step: Any) -> list[Tool]:
            return []

    with pytest.raises(TypeError, match="call"):
        Half()  # type: ignore[abstract]
