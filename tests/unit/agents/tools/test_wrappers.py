from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agents.tools import Filtered, FunctionToolset, Limited, Prefixed, Tool, ToolError, Toolset
from celery_agents.errors import ConfigurationError
from tests.support.toolsets import Shelf, charge, find, spec

ALL = ["find_order", "find_user", "drop_user"]


def names(toolset: Toolset, step: Any) -> list[str]:
    return [s.name for s in asyncio.run(toolset.specs(step))]


def call(toolset: Toolset, name: str, step: Any) -> Any:
    return asyncio.run(toolset.call(name, {"a": 1}, key="k", step=step))


@pytest.mark.parametrize(
    ("around", "listed"),
    [
        (lambda s: Prefixed(s, "x_"), ["x_find_order", "x_find_user", "x_drop_user"]),
        (lambda s: Prefixed(Prefixed(s, "y"), "x"), ["xyfind_order", "xyfind_user", "xydrop_user"]),
        (Filtered, ALL),
        (lambda s: Filtered(s, only=["find_*"]), ["find_order", "find_user"]),
        (lambda s: Filtered(s, only="find_*"), ["find_order", "find_user"]),
        (lambda s: Filtered(s, without=["find_user", "nobody"]), ["find_order", "drop_user"]),
        (lambda s: Filtered(s, only=["*_user"], without=["drop_*"]), ["find_user"]),
        (lambda s: Filtered(s, only=["Find_order"]), []),
        (lambda s: Filtered(Prefixed(s, "x_"), only=["x_d*"]), ["x_drop_user"]),
        (lambda s: Prefixed(Filtered(s, only=["drop_user"]), "x_"), ["x_drop_user"]),
        (lambda s: Limited(s, 5), ALL),
    ],
)
def test_what_is_listed_is_called_and_nothing_else(
    around: Callable[[Toolset], Toolset], listed: list[str], step: Any
) -> None:
    shelf = Shelf([spec(name) for name in ALL], answer="done", effects="idempotent")
    toolset = around(shelf)
    assert names(toolset, step) == listed
    assert toolset.effects == "idempotent"
    for name in listed:
        assert call(toolset, name, step) == "done"
        assert name.endswith(shelf.called[-1][0])
        assert shelf.called[-1][1:] == ({"a": 1}, "k", step.step_id)
    for name in set(ALL) - set(listed):
        with pytest.raises(ToolError, match="There is no tool"):
            call(toolset, name, step)
    asyncio.run(toolset.aclose())
    assert shelf.closed == 1


def test_two_of_one_toolset_have_two_names() -> None:
    shelf = Shelf([])
    assert [Prefixed(shelf, p).name for p in ("a_", "b_")] == ["a_shelf", "b_shelf"]


def test_a_function_under_a_prefix_keeps_its_effects(step: Any) -> None:
    functions = FunctionToolset("f", find, charge)
    found = asyncio.run(Prefixed(functions, "x_").specs(step))
    assert [(t.name, t.effects) for t in found if isinstance(t, Tool)] == [
        ("x_find", "pure"),
        ("x_charge", "effect"),
    ]
    assert (find.name, charge.name) == ("find", "charge")  # as before


def test_slow_calls_have_failed(step: Any) -> None:
    with pytest.raises(ToolError, match=r"fly did not end within 0.01 s"):
        call(Limited(Shelf([], answer=...), 0.01), "fly", step)
    with pytest.raises(TimeoutError, match="its own"):
        call(Limited(Shelf([], answer=TimeoutError("its own")), 60), "fly", step)


@pytest.mark.parametrize("inner", [find, Shelf, None, "desk"])
def test_what_is_no_toolset_has_nothing_around_it(inner: Any) -> None:
    with pytest.raises(ConfigurationError):
        Filtered(inner)
