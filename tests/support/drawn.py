"""Sizes of tests: examples, rows and rounds of which the suite takes a part, and ``--full`` all.

What the suite leaves out is more of what it has in it. Modules ask for it as they are imported, so
it is there before the first test is collected (tests/conftest.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

#: Whether all of it runs; pytest's option says so.
full = False
_PART = 5
T = TypeVar("T")


def is_full() -> bool:
    """Return whether all of it runs."""
    return full


def costly(examples: int, *, part: int = _PART) -> int:
    """So many examples in full; in the suite one in ``part``, the same ones each time."""
    return examples if is_full() else examples // part


def in_turn(values: Sequence[T], turn: int, *, part: int = _PART) -> Sequence[T]:
    """All of them in full; in the suite one in ``part``, others each turn: all of them in so many.

    For what is tried at many places that have it in common.
    """
    return values if is_full() else values[turn % part :: part]


def begin() -> None:
    """Draw once: Hypothesis reads the constants of all our modules then, and tables of Unicode.

    In a fresh checkout that takes 5 s of CPU, which each fork would spend for itself.
    """
    given(st.text())(_drawn)()


def _drawn(_text: str) -> None:
    """Hold for any text."""
