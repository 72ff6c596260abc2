"""Which limits a request meets, and what it wants of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from agents.governance.limits import Concurrency, Pause, Rate, Start, ToldRate, Want, burst_ms
from agents.needs import Needs
from celery_agents.contracts.limits import LimitPolicy

#: The things that are counted a minute.
What = Literal["requests", "tokens", "input", "output"]
#: Seconds' worth that may be used at once: of requests half of what providers that hold a minute's
#: limit against each second take, since some are longer on their way than others; and of tokens.
REQUESTS_BURST_S, TOKENS_BURST_S = 0.5, 6.0


@dataclass(frozen=True, slots=True)
class About:
    """An agent that is asked, and the run and tenant that ask it."""

    agent: str
    kind: str
    provider: str | None  # its target, as ``provider:openai``
    account: str  # whose limits a provider tells of, and is closed by a 429
    tenant: str = ""
    run: str = ""

    @property
    def places(self) -> tuple[str, ...]:
        """The words by which a limit covers it."""
        own = (f"agent:{self.agent}", f"kind:{self.kind}")
        return own if self.provider is None else (*own, self.provider)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A want, and whose it is."""

    limit: str  # the limit's name, or the account that is paused
    want: Want
    what: What | None = None  # None: it counts no units


def covers(policy: LimitPolicy, about: About) -> bool:
    """Return whether a limit holds for an agent; one that names nothing does for all models."""
    if not policy.covers:
        return about.provider is not None
    return any(place in policy.covers for place in about.places)


def used(what: What, needs: Needs) -> int:
    """How many units a request with such tokens takes."""
    match what:
        case "requests":
            return 1
        case "tokens":
            return needs.tokens
        case "input":
            return needs.input_tokens
        case "output":
            return needs.output_tokens


def wanted(policies: Mapping[str, LimitPolicy], about: About, needs: Needs) -> tuple[Wanted, ...]:
    """List the wants of a request at the limits that cover it: pauses, slots, then rates."""
    found = [w for name, policy in policies.items() for w in _of(name, policy, about, needs)]
    account = Wanted(about.account, Pause(about.account))
    order = {Pause: 0, Concurrency: 1, Start: 1, Rate: 2, ToldRate: 2}
    return tuple(sorted([account, *found], key=lambda w: order[type(w.want)]))


def instance(name: str, policy: LimitPolicy, about: About) -> str:
    """The name of the limit that one of those has that it is per."""
    match "key" if policy.learn else policy.per:
        case None:
            return name
        case "tenant":
            return f"{name}:{about.tenant}"
        case "agent":
            return f"{name}:{about.agent}"
        case "run":
            return f"{name}:{about.run}"
        case "key":
            return f"{name}:{about.account}"


def paused_by(name: str) -> str:
    """The key under which people close a limit."""
    return f"limit:{name}"


def refused_by(deployment: str) -> str:
    """The key under which a router leaves one out whose account was refused."""
    return f"refused:{deployment}"


def numbers(policy: LimitPolicy) -> dict[What, int | None]:
    """The numbers of a minute that a policy gives."""
    return {
        "requests": policy.requests_per_minute,
        "tokens": policy.tokens_per_minute,
        "input": policy.input_tokens_per_minute,
        "output": policy.output_tokens_per_minute,
    }


def _of(name: str, policy: LimitPolicy, about: About, needs: Needs) -> Iterator[Wanted]:
    own = instance(name, policy, about)
    yield Wanted(name, Pause(paused_by(name)))
    if policy.concurrent is not None:
        yield Wanted(name, Concurrency(own, policy.concurrent))
    if policy.learn and policy.requests_per_minute is None:
        yield Wanted(name, Start(own, about.account))
    for what, number in numbers(policy).items():
        usual_s = REQUESTS_BURST_S if what == "requests" else TOKENS_BURST_S
        burst_s = policy.burst_s or usual_s
        key, cost = f"{what}:{own}", used(what, needs)
        if number is not None:
            unit_ms = 60_000 / number
            yield Wanted(name, Rate(key, burst_ms(unit_ms, burst_s), unit_ms, cost), what)
        elif policy.learn:
            yield Wanted(name, ToldRate(key, about.account, what, burst_s, cost), what)


def corrections(asked: Sequence[Wanted], real: Needs | None) -> list[int]:
    """By how much each want's cost was wrong; without real tokens nothing was asked at all."""
    found = []
    for one in asked:
        cost = one.want.cost if isinstance(one.want, _COSTING) else 0
        took = 0 if real is None or one.what is None else used(one.what, real)
        found.append(took - cost)
    return found


_COSTING = (Rate, ToldRate)  # a union would be made for each look
