"""Prices and context windows of models: of their entry, else of genai-prices' offline list."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

from agents.governance.rates import NANO, Rates, pico_usd
from agents.models.config import ModelConfig, Price
from agents.models.provider import Tokens
from celery_agents.contracts.outcome import Usage

#: What a token written to a cache costs, of one that is only read by the model. Sources:
#: docs.anthropic.com/en/docs/build-with-claude/prompt-caching (5 minutes), OpenAI's price list.
CACHE_WRITE = Decimal("1.25")
#: Prices of the list change by the hour of the day.
_HOUR_S = 3600


class Listed(NamedTuple):
    """The rates and the window of a model; None where they are not known."""

    rates: Rates | None
    context_tokens: int | None


class PriceList:
    """The prices and the window of one agent's model, looked up once an hour and kept."""

    def __init__(self, config: ModelConfig, *, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock
        self._hour: int | None = None
        self._listed = Listed(None, None)

    async def now(self) -> Listed:
        """The rates and the window of this hour."""
        hour = int(self._clock()) // _HOUR_S
        if hour != self._hour:
            at = datetime.fromtimestamp(hour * _HOUR_S, UTC)
            # In a thread: the list takes a seventh of a second to import.
            self._listed = await asyncio.to_thread(listed, self._config, at)
            self._hour = hour
        return self._listed


def usage_of(rates: Rates | None, tokens: Tokens | None) -> Usage:
    """The usage of one request. ``cost_usd`` is None when tokens or price are not known."""
    if tokens is None:
        return Usage(calls=1, cost_usd=None)
    return Usage(
        calls=1,
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cached_tokens=tokens.cache_read,
        cost_usd=None if rates is None else rates.cost(tokens).nano_usd / NANO,
    )


def listed(config: ModelConfig, at: datetime) -> Listed:
    """The prices and the window of a model at that time, by its entry, else by the list.

    Behind another URL a model of that name has other ones. The list may know whose URL it is; where
    the entry says a price, nobody asks.
    """
    own = None if config.price is None else _of_entry(config.price)
    asked = own is None or (config.context_tokens is None and config.base_url is None)
    found = _of_list(config, at) if asked else Listed(None, None)
    return Listed(own or found.rates, config.context_tokens or found.context_tokens)


def _of_entry(price: Price) -> Rates:
    read = price.input_usd if price.cached_usd is None else price.cached_usd
    written: float | Decimal | None = price.cache_write_usd
    if written is None:
        written = CACHE_WRITE * Decimal(str(price.input_usd))
    return Rates(
        pico_usd(price.input_usd), pico_usd(price.output_usd), pico_usd(read), pico_usd(written)
    )


def _of_list(config: ModelConfig, at: datetime) -> Listed:
    try:
        import genai_prices
    except ImportError:
        return Listed(None, None)
    nothing, model, base_url = genai_prices.Usage(), config.model, config.base_url
    price = partial(genai_prices.calc_price, nothing, model, genai_request_timestamp=at)
    try:
        found = (
            price(provider_id=config.provider)
            if base_url is None
            else price(provider_api_url=base_url)
        )
    except (LookupError, ValueError):
        return Listed(None, None)
    return Listed(_rates(found.model_price), found.model.context_window)


def _rates(price: Any) -> Rates | None:
    """The rates of a model of the list; None where it says no price of tokens."""
    if price.input_mtok is None and price.output_mtok is None:
        return None
    starts = {tier.start for found in vars(price).values() for tier in _tiers(found)}
    tiers = tuple((start, _above(price, start)) for start in sorted(starts))
    base = _above(price, None)
    return Rates(base.input, base.output, base.cache_read, base.cache_write, base.request, tiers)


def _tiers(found: Any) -> Any:
    return getattr(found, "tiers", ())


def _above(price: Any, start: int | None) -> Rates:
    """The rates for requests of more tokens of input than that; None: for the smallest ones."""

    def rate(name: str, otherwise: int = 0, *, each: int = 1_000_000) -> int:
        found = getattr(price, name)
        if found is None:
            return otherwise
        reached = [t.price for t in _tiers(found) if start is not None and t.start <= start]
        return pico_usd((reached or [getattr(found, "base", found)])[-1], each=each)

    plain = rate("input_mtok")
    return Rates(
        plain,
        rate("output_mtok"),
        rate("cache_read_mtok", plain),  # the list counts these as any other then
        rate("cache_write_mtok", plain),
        rate("requests_kcount", each=1_000),
    )
