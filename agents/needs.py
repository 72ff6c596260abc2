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


#: Says what a request needs; it is asked only where a limit wants to know.
Expect = Callable[[], Needs]
