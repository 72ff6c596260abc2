"""The order in which the candidates of a chain are tried."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping

from agents.patterns.fallback.adaptive import Arm, draw
from celery_agents.contracts.fallback import Candidate, FallbackPolicy


def order(
    policy: FallbackPolicy,
    step_id: str,
    *,
    arms: Mapping[str, Arm] | None = None,
    now: int = 0,
    masked: Collection[str] = (),
) -> list[Candidate]:
    """All candidates in the order of this step; the same at every attempt with the same data.

    Lower priority first, then as stated; ``weighted`` draws without replacement inside each
    priority (as RFC 2782 does for servers); ``adaptive`` draws by what was learned and knows no
    priority: ``arms`` by candidate key, at the chain's request number ``now``. Candidates in
    ``masked`` (keys whose breaker is open) are left out.
    """
    left = [candidate for candidate in policy.candidates if candidate.key not in masked]
    rng = random.Random(f"{policy.seed}\0{step_id}")  # noqa: S311  # repeatable, guards nothing
    if policy.strategy == "adaptive":
        luck = draw(
            {candidate.key: (arms or {}).get(candidate.key, Arm()) for candidate in left},
            now=now,
            half_life=policy.adaptive.half_life,
            rng=rng,
        )
        return sorted(left, key=lambda candidate: -luck[candidate.key])
    if policy.strategy == "weighted":
        # Exponential clocks: sorting them is drawing by weight without replacement
        # (P. Efraimidis, P. Spirakis, "Weighted random sampling with a reservoir", 2006).
        clocks = {one.key: rng.expovariate(float(one.weight)) for one in left}
        return sorted(left, key=lambda candidate: (candidate.priority, clocks[candidate.key]))
    return sorted(left, key=lambda candidate: candidate.priority)


def eligible(
    ordered: Iterable[Candidate], *, tried: Collection[str] = (), failures: Collection[str] = ()
) -> list[Candidate]:
    """List who may be tried now: not yet ``tried`` (keys), and without a condition or with it met.

    ``failures`` are the kinds of all errors of the chain so far. The first one is next; a
    strategy that starts several at once starts them all.
    """
    return [
        candidate
        for candidate in ordered
        if candidate.key not in tried and (not candidate.on or set(candidate.on) & set(failures))
    ]
