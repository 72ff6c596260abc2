from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.factory import create_app
from app.messaging.redis import check_broker, connect_redis
from app.settings import Settings
from celery_agents.errors import ConfigurationError
from deploy.local.servers import LOOPBACK
from tests.support.ports import free_port
from tests.support.tls import Authority


def settings(url: str, **more: Any) -> Settings:
    return Settings.model_validate({"redis_url": url, **more})


@pytest.mark.parametrize(
    ("url", "timeout_s", "bounds"),
    [
        ("redis://h", None, (5.0, 5.0)),
        ("redis://h?socket_timeout=9", None, (9.0, 5.0)),
        ("redis://h?socket_timeout=9", 0.5, (0.5, 0.5)),
        ("rediss://h?socket_connect_timeout=1", None, (5.0, 1.0)),
        ("sentinel://a/m", 0.5, (0.5, 0.5)),
        ("unix:///run/r.sock", 0.5, (0.5, None)),
        ("unix:///run/r.sock", None, (5.0, None)),
    ],
)
def test_how_long_it_waits(
    url: str, timeout_s: float | None, bounds: tuple[float, float | None]
) -> None:
    kwargs = connect_redis(settings(url), timeout_s).connection_pool.connection_kwargs
    assert (kwargs["socket_timeout"], kwargs.get("socket_connect_timeout")) == bounds


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[int]:
    """The port of a TLS server whose certificate nobody trusts."""
    context = Authority(tmp_path / "stranger").server_context()
    with socket.create_server((LOOPBACK, 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    try:
                        context.wrap_socket(connection, server_side=True).close()
                    except (OSError, ssl.SSLError):
                        continue

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def test_nobody_starts_without_trust(stranger: int) -> None:
    found = settings(f"rediss://:not-a-password@{LOOPBACK}:{stranger}")
    with pytest.raises(ConfigurationError, match=r"REDIS_URL.*not trusted"):
        check_broker(found)
    with pytest.raises(ConfigurationError, match=r"REDIS_URL.*not trusted"):
        _ = create_app(found).redbeat_redis


def test_a_broker_that_is_away_is_waited_for() -> None:
    for scheme in ("redis", "rediss"):
        check_broker(settings(f"{scheme}://{LOOPBACK}:{free_port()}"))
    check_broker(settings(f"sentinel://{LOOPBACK}:{free_port()}/m"))


def test_beat_reads_text_from_where_all_others_are(redis_url: str) -> None:
    from redbeat.schedulers import get_redis

    app = create_app(settings(redis_url))
    client = get_redis(app)
    assert client is app.redbeat_redis
    client.set("agents:test", "ä")
    assert client.get("agents:test") == "ä"
    with connect_redis(settings(redis_url)) as other:
        assert other.get("agents:test") == "ä".encode()
