"""Values that are light to make stay what frozen dataclasses are to their users."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, replace

import pytest

from celery_agents.light import light


@light(frozen=True, slots=True)
class Light:
    """A value of a step."""

    name: str
    place: int = 0


@dataclass(frozen=True, slots=True)
class Frozen:
    """The same as a frozen dataclass."""

    name: str
    place: int = 0


def test_equal_ones_are_equal_and_hash_so() -> None:
    """As those of a frozen dataclass."""
    assert Light("a") == Light("a", 0)
    assert Light("a") != Light("b")
    assert len({Light("a"), Light("a"), Light("b")}) == 2


def test_one_is_copied_with_another_field() -> None:
    """By ``dataclasses.replace``."""
    assert replace(Light("a"), place=1) == Light("a", 1)


def test_it_is_matched_by_its_fields() -> None:
    """In their order."""
    match Light("a", 2):
        case Light(name, place):
            assert (name, place) == ("a", 2)


def test_it_has_no_other_attributes() -> None:
    """It has slots."""
    with pytest.raises(AttributeError):
        Light("a").other = 1  # type: ignore[attr-defined]


def test_its_fields_are_set_without_a_call_each() -> None:
    """That is why it is there: a frozen one has a ``__setattr__`` that refuses."""
    assert Light.__setattr__ is object.__setattr__
    with pytest.raises(FrozenInstanceError):
        Frozen("a").name = "b"  # type: ignore[misc]
