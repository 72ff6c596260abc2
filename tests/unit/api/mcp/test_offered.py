"""Names of tools."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from api.mcp.offered import callable_tools, tool_name
from api.openai.catalog import OfferedModel


@given(st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=200))
def test_a_name_is_legal_and_no_others(one: str, other: str) -> None:
    first, second = tool_name(one), tool_name(other)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", first)
    assert (first == second) == (one == other)
    assert tool_name(one) == first


def test_a_legal_name_is_kept() -> None:
    assert tool_name("gpt-5_mini") == "gpt-5_mini"
    assert tool_name("a" * 65) != tool_name("a" * 66)


def test_a_tool_has_its_own_name_where_nothing_else_has() -> None:
    spec = {"name": "find", "description": "", "parameters": {}, "effects": "pure"}
    desk = OfferedModel("desk", "tools", "", tools=(spec,))
    other = OfferedModel("other", "tools", "", tools=(spec,))
    assert callable_tools([desk]).keys() == {"find"}
    found = callable_tools([other, OfferedModel("find", "openai", ""), desk])
    assert found["find"].spec is None
    assert {one.model.name for one in found.values() if one.spec} == {"desk", "other"}
    assert len(found) == 3
