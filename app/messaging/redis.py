"""Connecting to the service's Redis, beside Celery's own connections."""

from __future__ import annotations

from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from app.settings import Settings
from celery_agents.address import RedisAddress

#: Seconds that a start waits for a broker that may be away.
FIRST_LOOK_S = 2.0


def connect_redis(
    settings: Settings,
    timeout_s: float | None = None,
    *,
    address: RedisAddress | None = None,
    **options: Any,
) -> Redis:
    """A client of these settings' Redis, whose waits are bounded by ``timeout_s``.

    ``address`` is that of another one. Nothing is opened before its first use.
    """
    limit_s = settings.redis_timeout_s if timeout_s is None else timeout_s
    bounds = {"socket_timeout": limit_s, "socket_connect_timeout": limit_s}
    address = address or settings.broker
    known = address.parameters(**bounds, **options)  # of which the address may know better …
    if timeout_s is not None:  # … unless this one look is bounded
        known |= {name: limit_s for name in bounds if name in known}
    return Redis.from_pool(address.pool(known))


def check_broker(settings: Settings) -> None:
    """Refuse to start where no waiting helps. A broker that is away is waited for.

    Raises:
        ConfigurationError: TLS with it is not possible, or its certificate is not trusted.
    """
    try:
        with connect_redis(settings, FIRST_LOOK_S) as redis:
            redis.ping()
    except (RedisError, OSError) as error:
        settings.broker.raise_if_refused(error)
