"""Names of tools."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from api.mcp.offered import tool_name


@given(st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=200))
def test_a_name_is_legal_and_no_others(one: str, other: str) -> None:
    first, second = tool_name(one), tool_name(other)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", first)
    assert (first == second) == (one == other)
    assert tool_name(one) == first


def test_a_legal_name_is_kept() -> None:
    assert tool_name("gpt-5_mini") == "gpt-5_mini"
    assert tool_name("a" * 65) != tool_name("a" * 66)
