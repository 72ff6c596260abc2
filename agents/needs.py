"""The tokens that a request is expected to take, before it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

#: Bytes of text that make a token; of most texts it is somewhat more.
BYTES_A_TOKEN = 3
#: Tokens of an answer where nobody says how many it may have.
OUTPUT_TOKENS = 500


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


def expected(size: int, max_output_tokens: int | None = None) -> Needs:
    """Tokens that a turn with so many bytes of text will take, of which no request is made yet."""
    output = OUTPUT_TOKENS if max_output_tokens is None else min(max_output_tokens, OUTPUT_TOKENS)
    return Needs(-(-size // BYTES_A_TOKEN), output)
