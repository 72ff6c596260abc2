"""Connecting to the service's Redis, beside Celery's own connections."""

from __future__ import annotations

from redis import Redis

from app.settings import Settings


def connect_redis(settings: Settings, timeout_s: float | None = None) -> Redis:
    """A client of these settings' Redis, whose waits are bounded by ``timeout_s``.

    Nothing is opened before its first use.
    """
    limit_s = settings.redis_timeout_s if timeout_s is None else timeout_s
    return Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=limit_s,
        socket_connect_timeout=limit_s,
    )
