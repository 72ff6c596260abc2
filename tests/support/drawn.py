"""How many examples Hypothesis draws where each is costly."""

from __future__ import annotations

from hypothesis import settings

#: ``./run test --hypothesis-profile=full PATHS`` draws all of them.
FULL = "full"
_PART = 5


def costly(examples: int, *, part: int = _PART) -> int:
    """So many examples in full; in the suite one in ``part``, the same ones each time."""
    return examples if settings.get_current_profile_name() == FULL else examples // part
