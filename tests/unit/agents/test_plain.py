from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from agents.plain import plain_json


@dataclass
class Place:
    city: str


class Trip(BaseModel):
    to: tuple[str, ...]


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.booleans()))
def test_json_is_its_own_plain_form(value: dict[str, Any]) -> None:
    assert plain_json(value) == value


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Place("Oslo"), {"city": "Oslo"}),
        (Trip(to=("a", "b")), {"to": ["a", "b"]}),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        ((1, frozenset({2})), [1, [2]]),
    ],
)
def test_python_values(value: Any, plain: Any) -> None:
    assert plain_json(value) == plain


@pytest.mark.parametrize("value", [object(), float("nan"), [float("inf")], {"a": {1: object()}}])
def test_what_has_no_json_form(value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        plain_json(value)
