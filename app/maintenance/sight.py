"""The service as a whole at one moment, as one of its processes sees it, for gauges."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine

from agents.policies.breaker import Standing, recorded
from app.admission.budgets import sights as accounts
from app.admission.limits import sights
from app.caching import sights as caching
from app.execution.runtime import Runtime
from app.journal.stores.overview import Overview
from app.journal.stores.targets import Targets
from app.maintenance.cluster import with_queues
from app.messaging.intake import Intake
from app.messaging.redis import connect_redis
from app.settings import Settings
from app.telemetry.gauges import ServiceGauges
from celery_agents import names
from celery_agents.noted import note

log = logging.getLogger(__name__)
T = TypeVar("T")


def sight(engine: Engine, settings: Settings) -> dict[str, Any]:
    """The parts that the journal and Redis have; without the latter, fewer.

    Raises:
        JournalUnavailableError: the journal is away.
    """
    found, targets = Overview(engine).cluster(), Targets(engine).read()
    intake = Intake.connect(settings)
    shut: dict[str, Standing] = {}
    with connect_redis(settings) as redis:
        return {
            "cluster": _or(found, lambda: with_queues(found, intake, settings.queue)),
            "accepted": _or(None, lambda: _accepted(redis)),
            "targets": targets,
            "breakers": _or(shut, lambda: standings(redis, breakers_of(targets))),
        }


def sight_of(runtime: Runtime) -> ServiceGauges:
    """All of it, as a worker has it, who knows the limits, tenants, budgets and caches.

    Raises:
        JournalUnavailableError: the journal is away.
    """
    agents, queue = runtime.agents, runtime.settings.queue
    registry = agents.registry
    empty: list[Any] = []

    def cached() -> Sequence[Any]:
        return caching.states(agents.shared_cache, registry, runtime.journal.memos)

    return ServiceGauges(
        **sight(runtime.journal.engine, runtime.settings),
        limits=_or(empty, lambda: sights.states(agents.limits, registry)),
        tenants=_or(empty, lambda: sights.tenants(runtime.intake, registry, queue)),
        known=frozenset(registry.tenants),
        budgets=_or(empty, lambda: accounts.states(agents.budgets)),
        caches=_or(empty, cached) if agents.has_caches else (),
    )


def breakers_of(targets: Iterable[Any]) -> list[str]:
    """The names of breakers that there may be: those of what is probed."""
    named = (row["target"] for row in targets)
    return [name for name in named if name.startswith(("agent:", "provider:"))]


def breakers_in(settings: Settings, targets: Iterable[Any]) -> dict[str, Standing]:
    """How the breakers of what is probed stand; nothing without Redis."""
    with connect_redis(settings) as redis:
        return _or({}, lambda: standings(redis, breakers_of(targets)))


def standings(redis: Redis, breakers: Sequence[str]) -> dict[str, Standing]:
    """How these breakers stand, by one command."""
    found: Any = redis.mget([names.BREAKERS + name for name in breakers]) if breakers else []
    now_s = time.time()
    return {name: recorded(text, now_s) for name, text in zip(breakers, found, strict=True)}


def _accepted(redis: Redis) -> int:
    found: Any = redis.hlen(names.INTAKE_RECORDS)
    return int(found)


def _or(otherwise: T, read: Callable[[], T]) -> T:
    try:
        return read()
    except RedisError as error:
        note(log, "metrics", "Some gauges are not told without Redis", error=error)
        return otherwise
