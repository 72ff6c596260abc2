from __future__ import annotations

from typing import Any

import pytest

from agents.models.config import ModelConfig
from agents.models.prices import cost_usd, usage_of
from agents.models.provider import Tokens, counted

TOKENS = Tokens(input=1_000_000, output=100_000, cache_read=500_000)


def config(**fields: Any) -> ModelConfig:
    return ModelConfig.model_validate({"provider": "openai", "model": "gpt-4o-mini"} | fields)


@pytest.mark.parametrize(
    ("fields", "dollars"),
    [
        # The provider's price list: 0.15 in, 0.075 cached, 0.60 out for a million tokens.
        ({}, 0.075 + 0.0375 + 0.06),
        ({"model": "gpt-nonesuch"}, None),
        ({"base_url": "http://127.0.0.1:8000/v1"}, None),
        ({"price": {"input_usd": 1, "output_usd": 2}}, 1.0 + 0.2),
        ({"price": {"input_usd": 1, "output_usd": 2, "cached_usd": 0}}, 0.5 + 0.2),
        ({"price": {"input_usd": 0, "output_usd": 0}, "model": "gpt-nonesuch"}, 0.0),
    ],
)
def test_cost(fields: dict[str, Any], dollars: float | None) -> None:
    cost = cost_usd(config(**fields), TOKENS)
    assert cost == (None if dollars is None else pytest.approx(dollars))


@pytest.mark.parametrize(
    ("price", "tokens", "dollars"),
    [
        # 100,000 tokens written at 3 dollars a million: a quarter more than as plain input.
        ({"input_usd": 3}, Tokens(100_000, 0, 0, 100_000), 0.375),
        ({"input_usd": 3, "cache_write_usd": 6}, Tokens(100_000, 0, 0, 100_000), 0.6),
        ({"input_usd": 3, "cache_write_usd": 0}, Tokens(100_000, 0, 0, 100_000), 0.0),
        ({"input_usd": 3, "cached_usd": 0.3}, Tokens(100_000, 0, 40_000, 10_000), 0.1995),
        # Counts that contradict each other: what is known to be dearer is paid, nothing is earned.
        ({"input_usd": 3, "cached_usd": 1}, Tokens(10, 0, 1_000_000, 0), 1.0),
    ],
)
def test_cache_writes_have_their_price(
    price: dict[str, float], tokens: Tokens, dollars: float
) -> None:
    cost = cost_usd(config(price={"output_usd": 15, **price}), tokens)
    assert cost == pytest.approx(dollars)


def test_the_list_prices_cache_writes_too() -> None:
    claude = config(provider="anthropic", model="claude-sonnet-4-5")
    plain, written = (cost_usd(claude, Tokens(100_000, 0, 0, n)) for n in (0, 100_000))
    assert [plain, written] == pytest.approx([0.3, 0.375])


@pytest.mark.parametrize(
    ("provider", "model"),
    [("anthropic", "claude-sonnet-4-5"), ("google", "gemini-2.5-flash")],
)
def test_every_provider_has_prices(provider: str, model: str) -> None:
    cost = cost_usd(config(provider=provider, model=model), TOKENS)
    assert cost is not None
    assert cost > 0


def test_counts_that_contradict_each_other_have_no_price() -> None:
    assert cost_usd(config(), Tokens(input=10, output=1, cache_read=20)) is None


def test_unknown_tokens_are_not_free() -> None:
    usage = usage_of(config(), None)
    assert (usage.calls, usage.cost_usd) == (1, None)


@pytest.mark.parametrize(
    ("told", "tokens"),
    [
        ((1, 2, None, None), Tokens(1, 2)),
        ((1, 2, 3, 4), Tokens(1, 2, 3, 4)),
        ((None, 2), None),
        ((1, None), None),
        (("1", 2), None),
        ((True, 2), None),
        ((-1, 2), None),
        ((1.0, 2), Tokens(1, 2)),
        ((1.5, 2), None),
        ((1, 2, "many", {}), Tokens(1, 2)),
    ],
)
def test_counted(told: tuple[Any, ...], tokens: Tokens | None) -> None:
    assert counted(*told) == tokens
