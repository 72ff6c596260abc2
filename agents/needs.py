"""The tokens that a request is expected to take, before it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from agents.governance.pieces import pieces
from agents.governance.sizes import UNLEARNED


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


def expected(texts: Iterable[str]) -> Needs:
    """Tokens that a turn of these texts will take, of which no request is made yet."""
    return Needs(UNLEARNED.likely(pieces("\n".join(filter(None, texts)))), UNLEARNED.output(None))
