"""What model requests cost, by the offline price list of genai-prices."""

from __future__ import annotations

from agents.backends.config import ModelConfig, Price
from agents.backends.provider import Tokens
from celery_agents.contracts.outcome import Usage


def usage_of(config: ModelConfig, tokens: Tokens | None) -> Usage:
    """The usage of one request. ``cost_usd`` is None when tokens or price are not known."""
    if tokens is None:
        return Usage(calls=1, cost_usd=None)
    return Usage(
        calls=1,
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cached_tokens=tokens.cache_read,
        cost_usd=cost_usd(config, tokens),
    )


def cost_usd(config: ModelConfig, tokens: Tokens) -> float | None:
    """US dollars for one request, by the configured price or the list; None when unknown."""
    if config.price is not None:
        return _by_price(config.price, tokens)
    try:
        import genai_prices
    except ImportError:
        return None
    used = genai_prices.Usage(
        input_tokens=tokens.input,
        cache_read_tokens=tokens.cache_read,
        cache_write_tokens=tokens.cache_write,
        output_tokens=tokens.output,
    )
    try:
        # Behind another URL the same model name has another price, or none.
        if config.base_url is None:
            price = genai_prices.calc_price(used, config.model, provider_id=config.provider)
        else:
            price = genai_prices.calc_price(used, config.model, provider_api_url=config.base_url)
    except (LookupError, ValueError):  # unknown model; counts that contradict each other
        return None
    return float(price.total_price)


def _by_price(price: Price, tokens: Tokens) -> float:
    cached = price.input_usd if price.cached_usd is None else price.cached_usd
    fresh = tokens.input - tokens.cache_read
    dollars = fresh * price.input_usd + tokens.cache_read * cached
    return (dollars + tokens.output * price.output_usd) / 1_000_000
