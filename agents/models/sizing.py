"""The sizes and prices of one agent's model requests: estimated before, learned from after."""

from __future__ import annotations

from collections.abc import Callable

from agents.governance.estimate import against_room, context_exceeded, estimated, room
from agents.governance.lessons import Lessons
from agents.governance.rates import Rates
from agents.governance.sizes import Observed
from agents.models.config import ModelConfig
from agents.models.pieces import most_within, pieces_of, surely_within
from agents.models.prices import PriceList
from agents.models.provider import ModelRequest, Tokens
from agents.needs import Needs, Quote, Weight
from celery_agents.contracts.governance import Estimate
from celery_agents.errors import ConfigurationError


class Sizing:
    """Estimates an agent's requests, and refuses those that its model would not take."""

    def __init__(self, config: ModelConfig, lessons: Lessons) -> None:
        self._who = f"{config.provider}/{config.model}"
        self._prices = PriceList(config)
        self._lessons = lessons
        self._counts_cached = config.provider != "anthropic"

    async def admitted(self, request: ModelRequest) -> Rates | None:
        """The rates at which a request may be made now; None: the price is not known.

        Raises:
            ContextExceededError: it has more tokens than its model takes, by an estimate.
        """
        rates, context = await self._prices.now()
        if context is not None:
            await self._refuse_above(context, request)
        return rates

    def needs(self, request: ModelRequest) -> Needs:
        """The tokens that a request will likely take, in and out, for the limits that count it."""
        sizes = self._lessons.at_hand
        counted = sizes.likely(pieces_of(request))
        if not self._counts_cached:
            counted = round(counted * (1 - sizes.cached))
        return Needs(counted, sizes.output(request.max_output_tokens))

    async def weigh(self, request: ModelRequest, *, priced: bool) -> Weight:
        """Weigh a request that another model may get instead."""
        rates, context = await self._prices.now()
        fits = context is None or not await self._above(context, request)
        nano_usd = None
        if priced and rates is not None:
            sizes = self._lessons.at_hand
            tokens = sizes.likely(pieces_of(request))
            read, output = round(tokens * sizes.cached), sizes.output(request.max_output_tokens)
            nano_usd = rates.cost(Tokens(tokens, output, cache_read=read)).nano_usd
        return Weight(fits, context, nano_usd)

    async def quote(
        self, request: ModelRequest, arrived: Callable[[], int], *, worst: bool
    ) -> Quote:
        """The offer for a request: what 95 of 100 stay within, or the ``worst`` case.

        Raises:
            ConfigurationError: the worst case has no bound.
        """
        rates, _ = await self._prices.now()
        sizes, asked = await self._lessons.known(), request.max_output_tokens
        if worst and asked is None:
            raise ConfigurationError(
                f"A budget is strict, and nothing bounds what {self._who} answers: give its entry "
                "max_output_tokens."
            )
        tokens = most_within(request) if worst else None
        most = sizes.most(pieces_of(request)) if tokens is None else tokens
        output = asked if worst and asked is not None else sizes.output(asked)
        write = most if sizes.writes_cache or worst else 0

        def cost(output: int) -> int:
            assert rates is not None
            fresh = rates.cost(Tokens(most, output)).nano_usd
            return max(fresh, rates.cost(Tokens(most, output, cache_write=write)).nano_usd)

        return Quote(most, output, None if rates is None else cost, arrived, self._who)

    def learn(self, request: ModelRequest, tokens: Tokens | None) -> None:
        """Learn from the tokens that a provider has counted, if it has."""
        if tokens is not None and self._lessons.due():
            told = (tokens.input, tokens.output, tokens.cache_write, tokens.cache_read)
            self._lessons.add(Observed(pieces_of(request), *told))

    async def estimate(self, agent: str, request: ModelRequest) -> Estimate:
        """Estimate a request of the agent of that name."""
        rates, context = await self._prices.now()
        return estimated(
            agent,
            self._who,
            pieces_of(request),
            await self._lessons.known(newest=True),
            rates=rates,
            context_tokens=context,
            max_output_tokens=request.max_output_tokens,
        )

    async def _refuse_above(self, context: int, request: ModelRequest) -> None:
        if (above := await self._above(context, request)) is not None:
            tokens, output = above
            raise context_exceeded(self._who, tokens, context, output)

    async def _above(self, context: int, request: ModelRequest) -> tuple[int, int] | None:
        """The tokens of a request that its model would not take, and of its answer."""
        asked = request.max_output_tokens
        if asked is not None and surely_within(request, room(context, asked)):
            return None  # as almost all are
        sizes = await self._lessons.known()
        output = asked or sizes.output(None)
        if surely_within(request, room(context, output)):
            return None
        tokens = against_room(sizes, pieces_of(request))
        return (tokens, output) if tokens > room(context, output) else None
