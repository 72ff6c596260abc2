"""Prices as integers: sums are exact, more never costs less, what is cached is not dearer."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.governance.rates import Cost, Rates, Tokens, pico_usd

pico = st.integers(0, 10**8)
counts = st.integers(0, 5_000_000)


@st.composite
def rates(draw: st.DrawFn) -> Rates:
    """Reading from a cache costs no more than reading, writing to one no less; tiers rise."""

    def tier(least: Rates | None) -> Rates:
        base = least.input if least else 0
        plain = base + draw(pico)
        read = draw(st.integers(least.cache_read if least else 0, plain))
        written = max(plain, least.cache_write if least else 0) + draw(pico)
        return Rates(plain, (least.output if least else 0) + draw(pico), read, written)

    found = tier(None)
    above: list[tuple[int, Rates]] = []
    for start in sorted(draw(st.sets(st.integers(0, 1_000_000), max_size=3))):
        above.append((start, tier(above[-1][1] if above else found)))
    return replace(found, request=draw(pico), tiers=tuple(above))


@st.composite
def tokens(draw: st.DrawFn) -> Tokens:
    sent = draw(counts)
    read = draw(st.integers(0, sent))
    return Tokens(sent, draw(counts), read, draw(st.integers(0, sent - read)))


@given(rates(), tokens())
def test_the_parts_are_the_whole(rates: Rates, tokens: Tokens) -> None:
    cost = rates.cost(tokens)
    assert all(type(part) is int and part >= 0 for part in cost)
    tier = rates.tier(tokens.input)
    fresh = tokens.input - tokens.cache_read - tokens.cache_write
    whole = (
        fresh * tier.input
        + tokens.cache_read * tier.cache_read
        + tokens.cache_write * tier.cache_write
        + tokens.output * tier.output
        + tier.request
    )
    assert sum(cost) == whole
    assert whole <= cost.nano_usd * 1_000 < whole + 1_000


@given(rates(), tokens(), counts, counts)
def test_more_never_costs_less(rates: Rates, tokens: Tokens, sent: int, received: int) -> None:
    more = tokens._replace(input=tokens.input + sent, output=tokens.output + received)
    base = replace(rates, request=0, tiers=())
    assert base.cost(more).nano_usd >= base.cost(tokens).nano_usd
    tiered = replace(rates, request=0)
    assert tiered.cost(more).nano_usd >= tiered.cost(tokens).nano_usd


@given(rates(), tokens())
def test_what_is_read_from_a_cache_is_not_dearer_and_what_is_written_not_cheaper(
    rates: Rates, tokens: Tokens
) -> None:
    plain = tokens._replace(cache_read=0, cache_write=0)
    read = tokens._replace(cache_write=0)
    written = tokens._replace(cache_read=0)
    assert rates.cost(read).nano_usd <= rates.cost(plain).nano_usd
    assert rates.cost(plain).nano_usd <= rates.cost(written).nano_usd


def test_a_tier_holds_for_all_tokens_of_a_request_above_its_start() -> None:
    above = Rates(2_000, 6_000, 200, 2_500)
    rates = Rates(1_000, 5_000, 100, 1_250, tiers=((200_000, above),))
    assert rates.cost(Tokens(200_000, 10)) == Cost(200_000_000, 0, 0, 50_000)
    assert rates.cost(Tokens(200_001, 10, 1, 100_000)) == Cost(
        200_000_000, 200, 250_000_000, 60_000
    )


@pytest.mark.parametrize(
    ("dollars", "pico"),
    [
        (3, 3_000_000),
        (0.0375, 37_500),
        (Decimal("0.0000004"), 1),  # never less than is asked
        (0.18000000000000002, 180_000),  # nor more, for a float's sake
        (0, 0),
    ],
)
def test_a_rate_is_whole_pico_dollars(dollars: float, pico: int) -> None:
    assert pico_usd(dollars) == pico
