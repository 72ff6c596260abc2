"""``/metrics``: the service as a whole, from its rows, Redis and one of its workers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, TypeVar

from redis.exceptions import RedisError

from agents.policies.breaker import Standing, recorded
from api.services import Services
from app.access.permissions import Principal
from app.telemetry.gauges import ServiceGauges
from celery_agents import names
from celery_agents.contracts.watching import Cluster, QueueState
from celery_agents.errors import AgentsError
from celery_agents.noted import note
from celery_agents.transport import lengths_by_priority, lists_of

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Seconds that a worker has to tell how limits, tenants, budgets and caches stand: Prometheus gives
#: a page ten, and what the journal knows is told without them.
_ASKED_S = 2.0


async def sight(services: Services, who: Principal) -> ServiceGauges:
    """The service now; without what Redis or a worker did not tell in time.

    Raises:
        JournalUnavailableError: the journal is away.
    """
    cluster, targets = await asyncio.gather(
        services.read(services.overview.cluster), services.read(services.targets.read)
    )
    client = services.client
    found = await asyncio.gather(
        _in_redis(services, cluster, targets),
        _asked(services, who, client.limits.list),
        _asked(services, who, client.tenants),
        _asked(services, who, client.budgets),
        _asked(services, who, client.cache.list),
    )
    in_redis, limits, tenants, budgets, caches = found
    return ServiceGauges(
        targets=targets,
        limits=limits,
        tenants=tenants,
        budgets=budgets,
        caches=caches,
        known=services.tenants,
        **in_redis,
    )


async def breakers(services: Services, named: Sequence[str]) -> dict[str, Standing]:
    """How breakers of these names stand; nothing without Redis."""
    try:
        keys = [names.BREAKERS + name for name in named]
        records = await services.redis.mget(keys) if keys else []
    except (RedisError, OSError) as error:
        note(log, "breakers_shown", "Breakers are not shown without Redis", error=error)
        return {}
    return _standings(named, records)


def _standings(named: Sequence[str], records: Sequence[bytes | None]) -> dict[str, Standing]:
    now_s = time.time()
    return {name: recorded(text, now_s) for name, text in zip(named, records, strict=True)}


async def _in_redis(
    services: Services, cluster: Cluster, targets: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Ask Redis for its part, by one round trip."""
    names_of = [row["target"] for row in targets]
    named = [name for name in names_of if name.startswith(("agent:", "provider:"))]
    queues = (services.settings.queue, names.CONTROL_QUEUE)
    try:
        async with services.redis.pipeline(transaction=False) as pipe:
            pipe.hlen(names.INTAKE_RECORDS)
            for key in chain.from_iterable(chain(*(lists_of(q).values() for q in queues))):
                pipe.llen(key)
            for name in named:
                pipe.get(names.BREAKERS + name)
            accepted, *rest = await pipe.execute()
    except (RedisError, OSError) as error:
        note(log, "metrics", "Some gauges are not told without Redis", error=error)
        return {"cluster": cluster}
    each = (len(rest) - len(named)) // len(queues)
    states = [
        QueueState(name=queue, queued=lengths_by_priority(rest[each * n : each * (n + 1)]))
        for n, queue in enumerate(queues)
    ]
    shut = _standings(named, rest[each * len(queues) :])
    whole = cluster.model_copy(update={"queues": tuple(states)})
    return {"cluster": whole, "accepted": accepted, "breakers": shut}


async def _asked(
    services: Services, who: Principal, ask: Callable[..., Sequence[T]]
) -> Sequence[T]:
    try:
        return await services.ask(who, ask, timeout=_ASKED_S)
    except AgentsError as error:
        note(log, "metrics_asked", "No worker told its gauges", error=error)
        return ()
