"""An estimate of a request, and what follows from one."""

from __future__ import annotations

from collections.abc import Iterable

from agents.governance.pieces import Pieces, pieces
from agents.governance.rates import Rates, Tokens
from agents.governance.sizes import UNLEARNED, Sizes
from agents.needs import Needs
from celery_agents.contracts.governance import Estimate
from celery_agents.errors import ContextExceededError, PriceUnknownError

#: Requests after which the margin of an estimate is of the agent's own: before, it would refuse
#: what fits, and a request counts with what is likely.
LEARNED = 20


def room(context_tokens: int, output_tokens: int) -> int:
    """Tokens that a request may have where its answer has so many."""
    return max(context_tokens - output_tokens, 0)


def against_room(sizes: Sizes, pieces: Pieces) -> int:
    """Tokens of a request as they are held against its room."""
    return sizes.most(pieces) if sizes.calls >= LEARNED else sizes.likely(pieces)


def context_exceeded(
    who: str, tokens: int, context_tokens: int, output_tokens: int
) -> ContextExceededError:
    """The error for a request that its model would not take."""
    return ContextExceededError(
        f"{who} takes {context_tokens:,} tokens, {output_tokens:,} of them for its answer, and the "
        f"request has some {tokens:,}. It was not made. Where the model takes more, say so by "
        "context_tokens of its entry.",
        {"tokens": tokens, "context_tokens": context_tokens, "output_tokens": output_tokens},
    )


_IN_CODE = '{"input_usd": 0.5, "output_usd": 2.0}'


def price_unknown(agent: str, who: str, priced_by: str = "") -> PriceUnknownError:
    """The error for an agent that has to stay below a cost which nobody can count.

    ``priced_by`` is the code that says the price, with ``{}`` for it; empty: the agent's entry.
    """
    where = f"below [agents.{agent}]: price = {{ input_usd = 0.5, output_usd = 2.0 }}"
    if priced_by:
        where = f"in code: {priced_by.format(_IN_CODE)}"
    return PriceUnknownError(
        f"The price of {who} is not known. Say it {where}, in dollars for a million tokens; 0 for "
        "a model of your own."
    )


def estimated(
    agent: str,
    who: str,
    pieces: Pieces,
    sizes: Sizes,
    *,
    rates: Rates | None,
    context_tokens: int | None,
    max_output_tokens: int | None,
) -> Estimate:
    """Estimate a request of these pieces."""
    most, output = sizes.most(pieces), sizes.output(max_output_tokens)
    fits = context_tokens is None or against_room(sizes, pieces) <= room(
        context_tokens, max_output_tokens or output
    )
    # What is written to a cache costs more; who writes to one is known when it has.
    tokens = Tokens(most, output, cache_write=most if sizes.writes_cache else 0)
    return Estimate(
        agent=agent,
        model=who,
        input_tokens=most,
        likely_input_tokens=sizes.likely(pieces),
        output_tokens=output,
        learned_from=sizes.calls,
        context_tokens=context_tokens,
        fits=fits,
        nano_usd=None if rates is None else rates.cost(tokens).nano_usd,
        price_unknown=price_unknown(agent, who).message if rates is None else None,
    )


def expected(texts: Iterable[str]) -> Needs:
    """Estimate what a turn of these texts takes, of which no request is made yet."""
    return Needs(UNLEARNED.likely(pieces("\n".join(filter(None, texts)))), UNLEARNED.output(None))
