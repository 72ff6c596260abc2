"""The cost of model requests, by the offline price list of genai-prices."""

from __future__ import annotations

from agents.models.config import ModelConfig, Price
from agents.models.provider import Tokens
from celery_agents.contracts.outcome import Usage

#: What a token written to a cache costs, of one that is only read by the model. Sources:
#: docs.anthropic.com/en/docs/build-with-claude/prompt-caching (5 minutes), OpenAI's price list.
CACHE_WRITE = 1.25


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
    read = price.input_usd if price.cached_usd is None else price.cached_usd
    written = price.cache_write_usd
    if written is None:
        written = CACHE_WRITE * price.input_usd
    fresh = max(tokens.input - tokens.cache_read - tokens.cache_write, 0)
    dollars = fresh * price.input_usd + tokens.cache_read * read + tokens.cache_write * written
    return (dollars + tokens.output * price.output_usd) / 1_000_000
