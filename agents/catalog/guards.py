"""The guards of agents.toml: ``[guards.NAME]``, and which of them stand round an agent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from agents.catalog.loading import function_at
from agents.catalog.teams import refuse_circles
from agents.guarding.finding import Finder, Finding
from agents.guarding.phones import regions
from agents.guarding.pii import PersonalData
from agents.guarding.screening import TextGuard
from agents.guarding.words import Words
from celery_agents.contracts.guards import GuardPolicy
from celery_agents.contracts.nearest import meant
from celery_agents.errors import AgentFailedError, ConfigurationError


class Guards:
    """Guards by the agents that they stand round.

    Args:
        policies: those of the file, in its order, in which they are asked.

    Raises:
        ConfigurationError: a function cannot be loaded, a library is missing, or there is no such
            region.
    """

    def __init__(self, policies: Mapping[str, GuardPolicy]) -> None:
        self.policies = policies
        self._rules = {name: _rule(name, policy) for name, policy in policies.items()}

    def of(self, places: Iterable[str]) -> tuple[TextGuard, ...]:
        """Return the rules that cover one of these places."""
        here = {*places}
        return tuple(
            rule for name, rule in self._rules.items() if here & {*self.policies[name].covers}
        )


def refuse_judges(
    policies: Mapping[str, GuardPolicy], rules: Mapping[str, Sequence[TextGuard]]
) -> None:
    """Refuse judges that are no agents, or that would judge themselves.

    Args:
        policies: the guards by their names.
        rules: those that stand round each agent.

    Raises:
        ConfigurationError: it names the guard, or the circle.
    """
    for name, policy in policies.items():
        if policy.judge is not None and policy.judge not in rules:
            near = meant(policy.judge, rules.keys(), repr)
            raise ConfigurationError(
                f"[guards.{name}] judge: {policy.judge!r} is no agent of this worker{near}"
            )
    refuse_circles(
        {agent: [r.judge for r in of if r.judge is not None] for agent, of in rules.items()},
        "judge of its guards",
    )


def _rule(name: str, policy: GuardPolicy) -> TextGuard:
    try:
        find, foreign = _finder(name, policy)
    except ConfigurationError as error:
        raise ConfigurationError(f"[guards.{name}] {error.message}") from None
    return TextGuard(
        name,
        policy.input,
        policy.output,
        find,
        foreign=foreign,
        judge=policy.judge,
        untrusted=policy.untrusted,
    )


def _finder(name: str, policy: GuardPolicy) -> tuple[Finder | None, bool]:
    if policy.pii:
        if policy.regions and (unknown := {*policy.regions} - regions()):
            raise ConfigurationError(f"regions: there is no {', '.join(sorted(unknown))}")
        return PersonalData(policy.pii, policy.regions), False
    if policy.words:
        return Words(policy.words), False
    if policy.function is not None:
        return _of_function(name, function_at(policy.function)), True
    return None, False


def _of_function(name: str, function: Callable[[str], Any]) -> Finder:
    """Read what somebody's function finds: what it gives is held against the text."""

    def find(text: str) -> list[Finding]:
        found = [Finding(int(start), int(end), str(kind)) for start, end, kind in function(text)]
        for one in found:
            if not 0 <= one.start < one.end <= len(text):
                raise AgentFailedError(f"The guard {name} found a place that its text has not.")
        return found

    return find
