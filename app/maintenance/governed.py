"""Gauges of limits and tenants. Their labels are few: limits by name, and tenants that have one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from redis.exceptions import RedisError

from app.admission.limits import sights
from app.execution.runtime import Runtime
from celery_agents.contracts.limits import LimitState
from celery_agents.contracts.tenants import TenantState
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: Tenants with gauges of their own, beside those of agents.toml: with the most queued. Each label
#: is a series that Prometheus keeps, and anybody may be a tenant.
NAMED_MAX = 20
#: All other tenants, and nobody in particular.
OTHER, NOBODY = "other", "none"


def governed(runtime: Runtime) -> list[Any]:
    """The gauges of this service's limits and tenants; none while Redis is away."""
    agents = runtime.agents
    try:
        limits = sights.states(agents.limits, agents.registry)
        tenants = sights.tenants(runtime.intake, agents.registry, runtime.settings.queue)
    except RedisError as error:
        note(log, "metrics", "Limits and tenants are not told without Redis", error=error)
        return []
    return [*_of_limits(limits), *_of_tenants(tenants, agents.registry.tenants)]


def _of_limits(states: Sequence[LimitState]) -> list[Any]:
    """Each limit's gauges; of one that many have of their own, the sums."""
    held, waiting, paused = (
        _gauge(f"agents_limit_{name}", told, "limit")
        for name, told in {
            "in_use": "Requests under way within it",
            "waiting": "Steps that wait for it",
            "paused": "1 while it is closed, by people or a provider",
        }.items()
    )
    for limit in sorted({state.name for state in states}):
        own = [state for state in states if state.name == limit]
        held.add_metric([limit], sum(state.in_use for state in own))
        waiting.add_metric([limit], sum(state.waiting for state in own))
        paused.add_metric([limit], any(state.paused_s is not None for state in own))
    return [held, waiting, paused]


def _of_tenants(states: Sequence[TenantState], known: Iterable[str]) -> list[Any]:
    queued = _gauge("agents_tenant_queued", "Messages that no worker has taken", "tenant")
    held = _gauge("agents_tenant_in_flight", "Messages that workers hold", "tenant")
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
    return [queued, held]


def _gauge(name: str, told: str, label: str) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(name, told, labels=[label])
