from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_agents.client.mapping.pages import PageCutter
from celery_agents.contracts.mapping import PAGE_MAX
from celery_agents.errors import InvalidPayloadError

LIMIT = 200


def read(values: list[Any], limit: int = LIMIT) -> tuple[PageCutter, list[list[Any]]]:
    pages = PageCutter(limit)
    found = [page for value in values for page in pages.take(value)]
    return pages, [*found, *pages.rest()]


@given(st.lists(st.text(max_size=60) | st.integers(), max_size=60))
def test_all_are_there_in_their_order(values: list[Any]) -> None:
    pages, found = read(values)
    assert [value for page in found for value in page] + pages.inputs == values
    assert pages.counts == [len(page) for page in found]
    assert pages.cut == bool(found)
    assert not pages.cut or pages.inputs == []
    for page in found:
        assert len(page) == 1 or len(json.dumps(page, separators=(",", ":"))) <= LIMIT // 2 + 1


def test_what_fits_a_message_is_not_cut() -> None:
    pages, found = read(["x"] * 30)
    assert (found, len(pages.inputs)) == ([], 30)


def test_a_page_has_so_many_at_the_most() -> None:
    pages, found = read([0] * (PAGE_MAX * 5 // 2), PAGE_MAX * 4)
    assert [len(page) for page in found] == [PAGE_MAX, PAGE_MAX, PAGE_MAX // 2]
    assert pages.counts == [len(page) for page in found]


def test_the_same_inputs_have_the_same_digest() -> None:
    one, two = read(["x" * 50] * 9)[0], read(["x" * 50] * 9)[0]
    other = read([*["x" * 50] * 8, "x" * 51])[0]
    assert one.digest == two.digest != other.digest


@pytest.mark.parametrize("wrong", [object(), math.nan, {1: 2}])
def test_a_mistake_is_told_with_its_place(wrong: Any) -> None:
    with pytest.raises(InvalidPayloadError, match=r"input\.2"):
        read([1, 2, wrong])
