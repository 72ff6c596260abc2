"""The tokens that a request is expected to take, before it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Needs(NamedTuple):
    """Tokens of one request, expected or counted."""

    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Tokens in and out."""
        return self.input_tokens + self.output_tokens


class Weight(NamedTuple):
    """A turn as it would weigh on one agent, before it is asked."""

    fits: bool = True  # into what its model takes
    context_tokens: int | None = None  # None: nobody knows how much that is
    nano_usd: int | None = None  # None: not asked for, or nobody knows the price


#: Says what a request needs; it is asked only where a limit wants to know.
Expect = Callable[[], Needs]
