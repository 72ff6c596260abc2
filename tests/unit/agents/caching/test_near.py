"""The nearest vectors, by all of them."""

from __future__ import annotations

import math
from typing import Any

import pytest

pytest.importorskip("numpy")

from agents.caching import near
from agents.caching.near import Near, normalised


def at(degrees: float) -> bytes:
    return normalised([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])


def found(one: Near, degrees: float, threshold: float = 0.9) -> list[str]:
    return [key for key, _ in one.above(at(degrees), threshold)]


def test_the_nearest_comes_first() -> None:
    one = Near(2)
    for degrees in (0, 10, 20, 30, 90):
        one.add(str(degrees), at(degrees), "text")
    assert found(one, 12) == ["10", "20", "0", "30"]
    assert found(one, 12, 0.999) == ["10"]
    one.drop("10")
    one.drop("nobody")
    one.add("20", at(90), "moved")
    assert found(one, 12) == ["0", "30"]
    assert [*one.above(at(90), 0.999)] == [("90", "text"), ("20", "moved")] or len(one) == 4


def test_it_grows_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "MOST", 100)
    one = Near(2)
    for n in range(150):
        one.add(str(n), at(n), "")
    assert len(one) == 100
    assert found(one, 149, 0.9999) == ["149"]


def test_another_dimension_is_left_out() -> None:
    one = Near(2)
    one.add("k", normalised([1, 2, 3]), "")
    assert len(one) == 0
    assert [*one.above(normalised([1, 2, 3]), 0.0)] == []


@pytest.mark.parametrize(
    "value", [None, "text", [], [1], [0, 0], [1, "2"], [True, 1], [1, float("nan")], {"a": 1}]
)
def test_what_is_no_vector_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"vector|numbers"):
        normalised(value)
