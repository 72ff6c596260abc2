from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.governance.estimate import LEARNED, against_room, estimated, price_unknown, room
from agents.governance.lessons import Own
from agents.governance.rates import Rates
from agents.governance.sizes import Observed, Sizes
from celery_agents.contracts.governance import Estimate

PIECES = {"word": 1_000}
RATES = Rates(1_000_000, 2_000_000, 100_000, 1_250_000)


def taught(requests: int, tokens: int, *, written: int = 0) -> Sizes:
    sizes = Sizes()
    for _ in range(requests):
        sizes = sizes.after(Observed(PIECES, tokens, 50, written))
    return sizes


def of(sizes: Sizes, **about: Any) -> Estimate:
    told: dict[str, Any] = {"rates": RATES, "context_tokens": None, "max_output_tokens": None}
    return estimated("gpt", "openai/m", PIECES, sizes, **{**told, **about})


def test_it_costs_its_tokens() -> None:
    found = of(taught(50, 1_000))
    assert found.output_tokens == 50
    assert found.nano_usd == 1_000 * found.input_tokens + 2_000 * 50
    assert found.usd == pytest.approx((found.nano_usd or 0) / 1e9)
    assert found.price_unknown is None


def test_of_who_writes_to_a_cache_all_input_may_be_written() -> None:
    found = of(taught(50, 1_000, written=900))
    assert found.nano_usd == 1_250 * found.input_tokens + 2_000 * 50


def test_a_model_of_ones_own_costs_nothing() -> None:
    assert of(Sizes(), rates=Rates(0, 0, 0, 0)).nano_usd == 0


def test_a_price_that_is_not_known_is_no_price_of_zero() -> None:
    found = of(Sizes(), rates=None)
    assert found.nano_usd is found.usd is None
    assert found.price_unknown == price_unknown("gpt", "openai/m").message
    assert price_unknown("gpt", "openai/m").kind == "price_unknown"


@pytest.mark.parametrize(
    ("sizes", "context", "max_output", "fits"),
    [
        (taught(50, 1_000), None, None, True),
        (taught(50, 1_000), 1_000, None, False),
        (taught(50, 1_000), 1_300, None, True),
        (taught(50, 1_000), 1_300, 500, False),  # the provider counts what it may have
        # Before it has learned, what is likely counts: the margin would refuse what fits.
        (Sizes(), 1_900, None, True),
        (Sizes(), 1_700, None, False),
    ],
)
def test_what_fits(sizes: Sizes, context: int | None, max_output: int | None, fits: bool) -> None:
    found = of(sizes, context_tokens=context, max_output_tokens=max_output)
    assert (found.fits, found.context_tokens) == (fits, context)


def test_a_margin_counts_once_it_is_learned() -> None:
    before, after = taught(LEARNED - 1, 1_000), taught(LEARNED, 1_000)
    assert against_room(before, PIECES) == before.likely(PIECES)
    assert against_room(after, PIECES) == after.most(PIECES)


def test_an_answer_as_long_as_the_window_leaves_no_room() -> None:
    assert room(100, 150) == 0


def test_the_first_requests_are_learned_from_then_some() -> None:
    own = Own()
    for _ in range(64):
        assert own.due()
        own.add(Observed(PIECES, 1_000, 1))
    assert sum(own.due() for _ in range(800)) == 100
    assert asyncio.run(own.known()).calls == 64
