from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import genai_prices
import pytest

from agents.models.config import ModelConfig
from agents.models.prices import PriceList, _rates, listed, usage_of
from agents.models.provider import Tokens, counted

TOKENS = Tokens(input=1_000_000, output=100_000, cache_read=500_000)


def config(**fields: Any) -> ModelConfig:
    return ModelConfig.model_validate({"provider": "openai", "model": "gpt-4o-mini"} | fields)


#: A Saturday, at nine in the morning.
AT = datetime(2026, 11, 28, 9, tzinfo=UTC)


def cost_usd(config: ModelConfig, tokens: Tokens) -> float | None:
    return usage_of(listed(config, AT).rates, tokens).cost_usd


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


def test_counts_that_contradict_each_other_are_paid_all_the_same() -> None:
    assert cost_usd(config(), Tokens(input=10, output=0, cache_read=20)) == pytest.approx(1.5e-6)


class Clock:
    def __init__(self) -> None:
        self.now = AT.timestamp()

    def __call__(self) -> float:
        return self.now


def test_a_price_is_looked_up_once_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[datetime] = []

    def look(config: ModelConfig, at: datetime) -> Any:
        looked.append(at)
        return listed(config, at)

    monkeypatch.setattr("agents.models.prices.listed", look)
    clock = Clock()
    prices = PriceList(config(), clock=clock)
    for later_s in (0, 3_599, 3_600, 3_601):
        clock.now = AT.timestamp() + later_s
        rates, context = asyncio.run(prices.now())
        assert rates is not None
        assert (rates.input, rates.cache_read, context) == (150_000, 75_000, 128_000)
    assert looked == [AT, AT + timedelta(hours=1)]


def test_prices_of_the_hour() -> None:
    """Some models are dearer at some hours of the day, or from some day on."""
    snapshot = genai_prices.data_snapshot.get_snapshot()
    (deepseek,) = (p for p in snapshot.providers if p.id == "deepseek")
    (by_hour,) = (m for m in deepseek.models if m.id == "deepseek-v4-pro")
    at = [AT.replace(hour=hour) for hour in (3, 5)]
    first, second = (_rates(by_hour.get_prices(when)) for when in at)
    assert first is not None
    assert second is not None
    assert first.input > second.input


def test_every_model_of_the_list_costs_what_the_list_says() -> None:
    """A difference of a nano-dollar is rounding; some prices of the list have endless digits."""
    seen = 0
    for provider in genai_prices.data_snapshot.get_snapshot().providers:
        for model in provider.models:
            rates = _rates(model.get_prices(AT))
            for tokens in SAMPLES if rates is not None else ():
                told = dict(zip(_FIELDS, tokens, strict=True))
                price = model.calc_price(
                    genai_prices.Usage(**told), provider, genai_request_timestamp=AT
                )
                assert rates is not None
                nano = rates.cost(tokens).nano_usd
                assert nano == pytest.approx(float(price.total_price * 10**9), rel=1e-5, abs=1.01)
                seen += 1
    assert seen > 8_000


_FIELDS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
SAMPLES = (
    Tokens(1_000, 100),
    Tokens(128_001, 1, 100, 0),
    Tokens(300_000, 5_000, 100_000, 50_000),
    Tokens(600_000, 10, 0, 600_000),
)


@pytest.mark.parametrize(
    ("fields", "context"),
    [
        ({}, 128_000),
        ({"context_tokens": 5}, 5),
        ({"model": "gpt-nonesuch"}, None),
        ({"price": {"input_usd": 1, "output_usd": 2}}, 128_000),
        # A model of that name behind another address may be another one.
        ({"base_url": "http://127.0.0.1:8000/v1"}, None),
        ({"base_url": "https://api.deepseek.com", "model": "deepseek-chat"}, 64_000),
    ],
)
def test_the_window(fields: dict[str, Any], context: int | None) -> None:
    assert listed(config(**fields), AT).context_tokens == context


def test_an_entry_that_says_all_needs_no_list() -> None:
    told = {"price": {"input_usd": 0, "output_usd": 0}, "base_url": "http://127.0.0.1:8000/v1"}
    code = (
        "import sys; from datetime import UTC, datetime\n"
        "from agents.models.config import ModelConfig\n"
        "from agents.models.prices import listed\n"
        f"entry = ModelConfig.model_validate({{'provider': 'openai', 'model': 'm', **{told}}})\n"
        "listed(entry, datetime.now(UTC)); print('genai_prices' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_unknown_tokens_are_not_free() -> None:
    usage = usage_of(listed(config(), AT).rates, None)
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
