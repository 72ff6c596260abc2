"""Governance: what a request will take and cost, before it is made."""

from __future__ import annotations

from celery_agents.contracts.base import Contract


class Estimate(Contract):
    """The tokens and the price of a request that was not made.

    Of a turn with tools it is the first request. Fewer than 1 in 100 requests exceed
    ``input_tokens`` once the agent has made some fifty.
    """

    agent: str
    #: The provider and its model.
    model: str
    input_tokens: int
    #: As likely too few as too many.
    likely_input_tokens: int
    #: Of the answer: 95 of 100 of the agent's newest ones have no more, and it may have no more.
    output_tokens: int
    #: Requests of the agent that this was learned from.
    learned_from: int
    #: The most that the model takes, its answer included; None: not known.
    context_tokens: int | None = None
    #: Whether the request would be made; a larger one is refused before it is paid.
    fits: bool = True
    #: Billionths of a dollar for these tokens; None: ``price_unknown`` says what to do.
    nano_usd: int | None = None
    price_unknown: str | None = None

    @property
    def usd(self) -> float | None:
        """Dollars for these tokens; None: the price is not known."""
        return None if self.nano_usd is None else self.nano_usd / 10**9
