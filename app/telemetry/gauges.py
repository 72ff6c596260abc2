"""How the service is, as gauges: views of what the journal and Redis say, told once for all.

Labels are few: limits and budgets by name, tenants that have many messages, breakers of agents that
are offered. Each label is a series that Prometheus keeps, and anybody may be a tenant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.policies.breaker import Standing
from app.telemetry.exposition import gauge
from celery_agents.contracts.budgets import UNITS, BudgetState
from celery_agents.contracts.caching import CacheState
from celery_agents.contracts.limits import LimitState
from celery_agents.contracts.tenants import TenantState
from celery_agents.contracts.watching import Cluster

#: Tenants with gauges of their own: with the most queued.
NAMED_MAX = 20
#: All other tenants, and nobody in particular.
OTHER, NOBODY = "other", "none"
#: A breaker as a number: how much of an agent's way is shut.
_SHUT = {Standing.CLOSED: 0.0, Standing.HALF_OPEN: 0.5, Standing.OPEN: 1.0}
#: Fields of a cluster that count steps.
_STATES = ("ready", "later", "running", "asking", "unsettled")
_Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ServiceGauges:
    """The service at one moment; of what could not be asked there is nothing."""

    cluster: Cluster | None = None
    #: Runs that were accepted and have no row yet.
    accepted: int | None = None
    #: Rows of probes.
    targets: _Rows = ()
    breakers: Mapping[str, Standing] = field(default_factory=dict)
    limits: Sequence[LimitState] = ()
    tenants: Sequence[TenantState] = ()
    #: Tenants of agents.toml: they have gauges of their own, however few messages.
    known: frozenset[str] = frozenset()
    budgets: Sequence[BudgetState] = ()
    caches: Sequence[CacheState] = ()

    def families(self) -> Iterator[Any]:
        """All of it as families of gauges."""
        if self.cluster is not None:
            yield from _of_cluster(self.cluster)
        if self.accepted is not None:
            family = gauge("agents_accepted", "Runs that were accepted and have no row yet")
            family.add_metric([], self.accepted)
            yield family
        yield from _of_targets(self.targets)
        yield from _of_breakers(self.breakers)
        if self.limits:
            yield from _of_limits(self.limits)
        if self.tenants:
            yield from _of_tenants(self.tenants, self.known)
        if self.budgets:
            yield from _of_budgets(self.budgets)
        if self.caches:
            yield from _of_caches(self.caches)


def open_steps(counts: Mapping[str, int]) -> Any:
    """Steps that have not ended, by state."""
    family = gauge("agents_steps_open", "Steps that have not ended, by what they wait for", "state")
    for state, count in counts.items():
        family.add_metric([state], count)
    return family


def _of_cluster(found: Cluster) -> Iterator[Any]:
    steps = open_steps({state: getattr(found, state) for state in _STATES})
    workers = gauge("agents_workers", "Processes that take steps, by their lease", "state")
    alive = sum(worker.lease_left_s > 0 for worker in found.workers)
    workers.add_metric(["alive"], alive)
    workers.add_metric(["gone"], len(found.workers) - alive)
    oldest = gauge(
        "agents_oldest_ready_seconds", "Since the oldest ready step could have been taken"
    )
    oldest.add_metric([], found.oldest_ready_s or 0.0)
    asking = gauge("agents_oldest_asking_seconds", "Since somebody was asked who has not answered")
    asking.add_metric([], found.oldest_asking_s or 0.0)
    letters = gauge("agents_dead_letters", "Steps and messages that were given up")
    letters.add_metric([], found.dead_letters)
    yield from (steps, workers, oldest, asking, letters)
    if found.queues:
        queued = gauge(
            "agents_queue_messages", "Messages that no worker has taken", "queue", "priority"
        )
        for queue in found.queues:
            for priority, count in queue.queued.items():
                queued.add_metric([queue.name, str(priority)], count)
        yield queued


def _of_targets(rows: _Rows) -> Iterator[Any]:
    healthy = gauge("agents_healthy", "1 healthy, 0 unhealthy, by the last probes", "target")
    latency = gauge("agents_probe_latency_seconds", "Of the last good probe", "target")
    age = gauge("agents_probe_age_seconds", "Since the last probe", "target")
    for row in rows:
        label = [row["target"]]
        if row["state"] in {"healthy", "unhealthy"}:
            healthy.add_metric(label, row["state"] == "healthy")
        if row["latency_ms"] is not None:
            latency.add_metric(label, row["latency_ms"] / 1000)
        age.add_metric(label, row["age_s"])
    yield from (healthy, latency, age)


def _of_breakers(standings: Mapping[str, Standing]) -> Iterator[Any]:
    family = gauge("agents_breaker_state", "0 closed, 0.5 half open, 1 open", "breaker")
    for name, standing in standings.items():
        family.add_metric([name], _SHUT[standing])
    yield family


def _of_limits(states: Sequence[LimitState]) -> Iterator[Any]:
    """Each limit's gauges; of one that many have of their own, the sums."""
    held = gauge("agents_limit_in_use", "Requests under way within it", "limit")
    waiting = gauge("agents_limit_waiting", "Steps that wait for it", "limit")
    paused = gauge("agents_limit_paused", "1 while people or a provider keep it closed", "limit")
    for limit in sorted({state.name for state in states}):
        own = [state for state in states if state.name == limit]
        held.add_metric([limit], sum(state.in_use for state in own))
        waiting.add_metric([limit], sum(state.waiting for state in own))
        paused.add_metric([limit], any(state.paused_s is not None for state in own))
    yield from (held, waiting, paused)


def _of_tenants(states: Sequence[TenantState], known: frozenset[str]) -> Iterator[Any]:
    queued = gauge("agents_tenant_queued", "Messages that no worker has taken", "tenant")
    held = gauge("agents_tenant_in_flight", "Messages that workers hold", "tenant")
    named = {*known, *[s.name for s in states if s.name][:NAMED_MAX]}
    sums: dict[str, list[int]] = {}
    for state in states:
        label = state.name if state.name in named else OTHER if state.name else NOBODY
        own = sums.setdefault(label, [0, 0])
        own[0] += state.queued
        own[1] += state.in_flight
    for label, (waiting, flying) in sorted(sums.items()):
        queued.add_metric([label], waiting)
        held.add_metric([label], flying)
    yield from (queued, held)


def _of_budgets(states: Sequence[BudgetState]) -> Iterator[Any]:
    """The share that is used of each budget, of its unit that is used most.

    Of one that many have of their own it is that of whoever has used most.
    """
    told = "Spent, reserved and in doubt, of what it has"
    used = gauge("agents_budget_used_ratio", told, "budget")
    doubt = gauge("agents_budget_in_doubt_calls", "Calls whose worker died under them", "budget")
    for name in sorted({state.name for state in states}):
        own = [state for state in states if state.name == name]
        used.add_metric([name], max(_used(state) for state in own))
        doubt.add_metric([name], sum(state.in_doubt.calls for state in own))
    yield from (used, doubt)


def _used(state: BudgetState) -> float:
    amounts = (state.spent, state.reserved, state.in_doubt)
    shares = [
        sum(getattr(amount, unit) for amount in amounts) / most if most else 1.0
        for unit in UNITS
        if (most := getattr(state.policy, unit)) is not None
    ]
    return max(shares)


def _of_caches(states: Iterable[CacheState]) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    found = list(states)
    hits = CounterMetricFamily(
        "agents_cache_hits", "By memory, Redis or a similar question", labels=["name", "layer"]
    )
    for state in found:
        hits.add_metric([state.name, "local"], state.local_hits)
        hits.add_metric([state.name, "shared"], state.shared_hits)
        hits.add_metric([state.name, "similar"], state.similar_hits)
    yield hits
    for kind, name, told in (
        (CounterMetricFamily, "misses", "Questions that were asked"),
        (CounterMetricFamily, "compared", "Similar answers that were asked all the same"),
        (CounterMetricFamily, "wrong", "Those of them that were another answer"),
        (CounterMetricFamily, "saved_usd", "US dollars that the hits would have cost"),
        (GaugeMetricFamily, "entries", "Answers that are kept"),
        (GaugeMetricFamily, "bytes", "Their size in Redis"),
    ):
        family = kind(f"agents_cache_{name}", told, labels=["name"])
        for state in found:
            family.add_metric([state.name], getattr(state, name))
        yield family
