"""The tokens that a request is expected to take, and what they cost, before it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeGuard


class Needs(NamedTuple):
    """Tokens of one request, expected or counted, and the billionths of a dollar that it costs."""

    input_tokens: int = 0
    output_tokens: int = 0
    nano_usd: int = 0

    @property
    def tokens(self) -> int:
        """Tokens in and out."""
        return self.input_tokens + self.output_tokens


class Weight(NamedTuple):
    """A turn as it would weigh on one agent, before it is asked."""

    fits: bool = True  # into what its model takes
    context_tokens: int | None = None  # None: nobody knows how much that is
    nano_usd: int | None = None  # None: not asked for, or nobody knows the price


#: Says what a request needs; it is asked only where a limit or a budget wants to know.
Expect = Callable[[], Needs]


class Quote(NamedTuple):
    """An offer for one request: its tokens, and what they cost by the size of the answer."""

    input_tokens: int
    output_tokens: int
    #: Nano-dollars with an answer of so many tokens; None: nobody knows the price.
    cost: Callable[[int], int] | None
    #: Tokens of its answer that have arrived up to now.
    arrived: Callable[[], int] = int
    #: Who is asked, for errors.
    who: str = ""
    #: Where the price is said, with ``{}`` for it; empty: in the entry of the agent.
    priced_by: str = ""

    @property
    def tokens(self) -> int:
        """Tokens in and out."""
        return self.input_tokens + self.output_tokens

    @property
    def nano_usd(self) -> int | None:
        """Nano-dollars of the whole; None: nobody knows."""
        return None if self.cost is None else self.cost(self.output_tokens)

    @classmethod
    def of(cls, needs: Needs) -> Quote:
        """The offer for a request that costs the same whatever comes back."""
        return cls(needs.input_tokens, needs.output_tokens, lambda _: needs.nano_usd)


class Quoted(Protocol):
    """Expects a request, and knows its price."""

    def __call__(self) -> Needs:
        """The tokens that are likely."""
        ...

    async def quote(self, *, worst: bool) -> Quote:
        """The offer that 95 of 100 stay within; the ``worst`` one all do.

        Raises:
            ConfigurationError: nothing bounds the worst one.
        """
        ...


async def quote_of(expect: Expect, *, worst: bool) -> Quote:
    """The offer for a request that is expected."""
    if _is_quoted(expect):
        return await expect.quote(worst=worst)
    return Quote.of(expect())


def _is_quoted(expect: Expect) -> TypeGuard[Quoted]:
    return hasattr(expect, "quote")  # a check of the protocol takes as long as all else here
