"""Prices of tokens as integers, and what a request costs by them.

A price of 0.0375 dollars a million tokens is no whole number of nano-dollars a token, so rates are
pico-dollars (10⁻¹²) a token; what is paid is nano-dollars (10⁻⁹), rounded up once. So sums are
exact, whatever their order, and there is no 25.000000000000004.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import NamedTuple

#: Nano-dollars of a dollar, and pico-dollars of a nano-dollar.
NANO, _PICO = 10**9, 1_000


class Tokens(NamedTuple):
    """Tokens of one request. ``input`` counts those read from and written to a cache too."""

    input: int
    output: int
    cache_read: int = 0
    cache_write: int = 0


class Cost(NamedTuple):
    """The parts of what a request costs, in pico-dollars."""

    input: int
    cache_read: int
    cache_write: int
    output: int
    request: int = 0

    @property
    def nano_usd(self) -> int:
        """All of it in nano-dollars, rounded up."""
        return -(-sum(self) // _PICO)


@dataclass(frozen=True, slots=True)
class Rates:
    """Pico-dollars a token, and a request."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    request: int = 0
    #: Requests of more tokens of input than that have those rates, for all of their tokens. The
    #: largest number comes last.
    tiers: tuple[tuple[int, Rates], ...] = ()

    def tier(self, input_tokens: int) -> Rates:
        """The rates for a request of so much input."""
        above = [rates for start, rates in self.tiers if input_tokens > start]
        return above[-1] if above else self

    def cost(self, tokens: Tokens) -> Cost:
        """The cost of a request.

        Counts that contradict each other earn nothing: what was read or written is paid at least.
        """
        rates = self.tier(tokens.input)
        fresh = max(tokens.input - tokens.cache_read - tokens.cache_write, 0)
        return Cost(
            fresh * rates.input,
            tokens.cache_read * rates.cache_read,
            tokens.cache_write * rates.cache_write,
            tokens.output * rates.output,
            rates.request,
        )


def pico_usd(dollars: float | Decimal, *, each: int = 1_000_000) -> int:
    """A rate of so many dollars for ``each`` tokens, rounded up."""
    exact = Decimal(str(dollars)) * 10**12 / each
    # The price list has floats in it: 0.18000000000000002 is 0.18.
    return int(round(exact, 6).to_integral_value(ROUND_CEILING))
