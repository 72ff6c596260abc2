"""The figures that the project holds itself to (tests/support/house.py prints them)."""

from __future__ import annotations

import pytest

from tests.support import house


def test_functions_are_short() -> None:
    assert len(house.functions()) > 1_000
    assert house.long_share() <= 0.015


def test_no_class_is_large() -> None:
    count, where = max(house.classes())
    assert count <= 200, where


def test_only_the_catalog_tells_entries_apart() -> None:
    assert house.told_apart() == []


def test_one_name_means_one_thing() -> None:
    assert house.of_two_meanings() == {}


@pytest.mark.parametrize("name", house.ONE_IDEA)
def test_what_is_excepted_is_there(name: str) -> None:
    places = [where for _, where in house.classes() if where.endswith(f":{name}")]
    assert len(places) > 1


def test_a_folder_can_be_taken_in_at_a_glance() -> None:
    assert max(house.folders().values()) <= 25
