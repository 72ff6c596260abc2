"""The policies that cover an agent, as they hold for a tenant."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

from agents.catalog.registry import Registered
from agents.governance.wants import About

P = TypeVar("P")


class CoveringPolicies(Generic[P]):
    """The policies of one sort, looked up once for each agent, and each kind that it has had.

    Args:
        policies: by name.
        covers: whether one holds for an agent.
        own: of tenants that have numbers of their own, by tenant and name.
    """

    def __init__(
        self,
        policies: Mapping[str, P],
        covers: Callable[[P, About], bool],
        own: Mapping[str, Mapping[str, P]] | None = None,
    ) -> None:
        self._policies = policies
        self._covers = covers
        self._own = own or {}
        self._known: dict[Hashable, dict[str, P]] = {}

    def of(self, agent: Registered, tenant: str = "") -> dict[str, P]:
        """Those that cover an agent, by name, with the numbers that hold for a tenant."""
        # One that is made anew over the API may be of another kind.
        key = (agent.name, agent.kind, tenant if tenant in self._own else None)
        found = self._known.get(key)
        if found is None:
            about = about_of(agent)
            covering = [name for name, p in self._policies.items() if self._covers(p, about)]
            found = self._known[key] = {name: self.one(name, tenant) for name in covering}
        return found

    def one(self, name: str, tenant: str) -> P:
        """The policy of that name, as it holds for a tenant."""
        return self._own.get(tenant, {}).get(name) or self._policies[name]


def about_of(agent: Registered) -> About:
    """An agent as limits and budgets see it."""
    provider = None if agent.provider is None else agent.provider.target
    return About(agent.name, agent.kind, provider, agent.account)
