"""How many examples Hypothesis draws where each is costly."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

#: ``./run test --hypothesis-profile=full PATHS`` draws all of them.
FULL = "full"
_PART = 5


def costly(examples: int, *, part: int = _PART) -> int:
    """So many examples in full; in the suite one in ``part``, the same ones each time."""
    return examples if settings.get_current_profile_name() == FULL else examples // part


def begin() -> None:
    """Draw once: Hypothesis reads the constants of all our modules then, and tables of Unicode.

    In a fresh checkout that takes 5 s of CPU, which each fork would spend for itself.
    """
    given(st.text())(_drawn)()


def _drawn(_text: str) -> None:
    """Hold for any text."""
