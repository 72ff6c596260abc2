"""The deployments that can answer a turn, in the order of their router's policy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from agents.base import Turn, Weighs
from agents.catalog.registry import Registered, Registry
from agents.governance.routing import (
    Asking,
    Capability,
    Experience,
    Order,
    RoutePolicy,
    ServedTurn,
    ordered,
)
from agents.needs import Weight
from celery_agents.errors import ContextExceededError, InvalidPayloadError

#: Policies that go by what was learned of each deployment.
LEARNING = frozenset({"latency", "learned"})


class Experiences(Protocol):
    """The lessons of all routers."""

    async def known(self, router: Registered) -> Experience:
        """The lessons of a router up to now."""
        ...

    def add(self, router: Registered, served: ServedTurn) -> None:
        """Learn from a turn. It waits for nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Way:
    """The deployments that may answer a turn, in their order."""

    router: Registered
    route: RoutePolicy
    order: Order
    agents: Mapping[str, Registered]  # all that there are
    windows: Mapping[str, int | None]  # of agents, where they were looked at

    @property
    def left(self) -> list[Registered]:
        """Those that have not been asked yet."""
        return [self.agents[name] for name in self.order.names]

    def _with(self, names: Iterable[str]) -> Way:
        return replace(self, order=replace(self.order, names=tuple(names)))

    def without(self, name: str) -> Way:
        """All but one."""
        return self._with(n for n in self.order.names if n != name)

    def of(self, agent: str) -> Way:
        """Those of one agent: its keys."""
        return self._with(n for n, one in self.agents.items() if one.name == agent)

    def among(self, others: Way) -> Way:
        """Those that are left in another one too."""
        return self._with(n for n in self.order.names if n in others.order.names)

    def larger(self, than: int) -> Way:
        """Those whose models take more, as far as that is known."""
        return self._with(
            name
            for name in self.order.names
            if (self.windows.get(self.agents[name].name) or math.inf) > than
        )

    def after_exceeding(self, error: ContextExceededError) -> Way:
        """Those that may take what was too long for one."""
        return self.larger(int(error.details.get("context_tokens", 0)))

    def well(self, sick: frozenset[str]) -> Way:
        """The healthy ones first, unless none is; by what is so at the moment they alone."""
        ill = {n for n in self.order.names if f"agent:{self.agents[n].name}" in sick}
        well = [n for n in self.order.names if n not in ill]
        if not ill or not well:
            return self
        order = self.order.there == "order"
        return self._with([*well, *(n for n in self.order.names if order and n in ill)])


def needed(turn: Turn, *, streamed: bool, talks: bool = False) -> frozenset[Capability]:
    """The things that whoever answers a turn, ``talks``: of a session, has to be able to do."""
    found: set[Capability] = {"messages"} if talks or turn.messages else set()
    for message in turn.messages:
        found |= {"images" if part.kind == "image" else "files" for part in message.attachments}
        if message.tool_calls or message.role == "tool":
            found.add("tools")
    if turn.choices is not None or turn.answer_schema is not None:
        found.add("schema")
    if streamed:
        found.add("stream")
    return frozenset(found)


async def placed(
    registry: Registry,
    experiences: Experiences,
    router: Registered,
    turn: Turn,
    asking: Asking,
    *,
    streamed: bool = False,
    talks: bool = False,
) -> Way:
    """Find the deployments of a router that can answer a turn, the best first.

    Where it is too long for all of them, the largest one is to say so.

    Raises:
        InvalidPayloadError: none of them can do what it needs.
    """
    route = router.route or RoutePolicy()
    every = registry.deployments_of(router)
    able = _able(router, every, needed(turn, streamed=streamed, talks=talks))
    weights = await _weights(able, turn, route)
    fitting = [one for one in able if weights[one.name].fits]
    if not fitting:
        fitting = [max(able, key=lambda one: weights[one.name].context_tokens or 0)]
    order = ordered(
        route,
        [one.deployment for one in fitting],
        asking,
        costs={one.deployment: weights[one.name].nano_usd for one in fitting},
        experience=await experiences.known(router) if route.by in LEARNING else None,
    )
    agents = {one.deployment: one for one in every}
    windows = {name: weight.context_tokens for name, weight in weights.items()}
    return Way(router, route, order, agents, windows)


def _able(
    router: Registered, every: Sequence[Registered], needs: frozenset[Capability]
) -> list[Registered]:
    """Those that lack nothing; that one streams is wished for, and not needed."""
    able = [one for one in every if not needs & one.lacks]
    able = able or [one for one in every if not (needs - {"stream"}) & one.lacks]
    if not able:
        names, lacked = ", ".join(sorted({one.name for one in every})), ", ".join(sorted(needs))
        raise InvalidPayloadError(
            f"{router.name} has nobody who can do what this turn needs ({lacked}): {names}."
        )
    return able


async def _weights(able: Sequence[Registered], turn: Turn, route: RoutePolicy) -> dict[str, Weight]:
    """Weigh the turn for each agent, where there are several."""
    priced = route.by == "cost"
    agents = {one.name: one for one in able}
    found = dict.fromkeys(agents, Weight())
    if len(agents) > 1:
        for name, agent in agents.items():
            if isinstance(agent.backend, Weighs):
                found[name] = await agent.backend.weigh(turn, priced=priced)
    return found
