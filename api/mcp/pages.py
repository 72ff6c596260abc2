"""Pages of lists, by name."""

from __future__ import annotations

from collections.abc import Iterable

#: Names of a page.
PAGE = 200


def page_of(names: Iterable[str], after: str | None) -> tuple[list[str], str | None]:
    """Return the names that come next, and behind which one the next page begins; None: no more."""
    left = sorted(name for name in names if after is None or name > after)
    return left[:PAGE], left[PAGE - 1] if len(left) > PAGE else None
