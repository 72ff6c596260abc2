"""What an app was told holds, whatever stands in the environment for another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery

from app.factory import create_app
from app.messaging.results import JournalBackend
from app.settings import Settings
from celery_agents import Client
from celery_agents.given import GivenCelery
from celery_agents.wire.results import ResultBackend

TRAP = "redis://:not-ours@trap.invalid:1/9"
#: Set for other apps in the images of Django, Airflow and Heroku, or by Celery for itself.
VARIABLES = {
    "CELERY_BROKER_URL": TRAP,
    "CELERY_BROKER_READ_URL": TRAP,
    "CELERY_BROKER_WRITE_URL": TRAP,
    "CELERY_RESULT_BACKEND": "db+postgresql://airflow:airflow@trap.invalid/airflow",
    "BROKER_URL": "amqp://guest:guest@trap.invalid//",
    "RESULT_BACKEND": TRAP,
    "CELERY_LOADER": "no.such.module:Loader",
    "CELERY_CONFIG_MODULE": "no.such.module",
}


def of_client() -> Celery:
    return Client("redis://:pw@ours:7/3").celery


def of_client_with_results() -> Celery:
    return Client("redis://:pw@ours:7/3", result_url="redis://results/1").celery


def of_environment() -> Celery:
    return Client().celery


def of_service() -> Celery:
    settings = {"redis_url": "redis://:pw@ours:7/3"}
    return create_app(Settings.model_validate(settings))


@pytest.mark.parametrize("make", [of_client, of_client_with_results, of_environment, of_service])
@pytest.mark.parametrize("loaded", [False, True], ids=["at first", "configured"])
def test_where_an_app_goes(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], Celery], loaded: bool
) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("REDIS_URL", "redis://:pw@ours:7/3")
    app = make()
    if loaded:
        app.conf.task_acks_late  # noqa: B018 - reading one configures
    conf = app.conf
    for url in (conf.broker_url, conf.broker_read_url, conf.broker_write_url):
        assert url == "redis://:pw@ours:7/3"
    assert "trap" not in conf.result_backend
    for connect in (app.connection_for_read, app.connection_for_write, app.connection):
        assert connect().hostname == "ours"
        channel_class = connect().transport.Channel
        assert "address" in channel_class.from_transport_options
        assert connect().transport_options["address"].where == "ours:7"
    assert app.pool.connection.hostname == "ours"


@pytest.mark.parametrize(
    ("make", "kind", "host"),
    [
        (of_client, ResultBackend, "ours"),
        (of_environment, ResultBackend, "ours"),
        (of_client_with_results, ResultBackend, "results"),
        (of_service, JournalBackend, "ours"),
    ],
)
def test_where_its_results_are(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], Celery], kind: type[Any], host: str
) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("REDIS_URL", "redis://:pw@ours:7/3")
    backend = make().backend
    assert type(backend) is kind
    assert backend.connparams["host"] == host
    assert backend.client.connection_pool.connection_kwargs["host"] == host


def test_results_elsewhere_than_in_redis_are_celerys_to_read() -> None:
    client = Client("redis://ours", result_url="cache+memory://")
    assert client.celery.results_address is None
    assert type(client.celery.backend).__name__ == "CacheBackend"


def test_an_app_without_an_address_is_celerys() -> None:
    app = GivenCelery("t", broker="memory://", set_as_current=False)
    assert app.connection().transport_options == {}
    assert app.conf.broker_url == "memory://"


def test_what_its_code_changes_later_holds_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", TRAP)
    app = GivenCelery("t", broker="memory://", set_as_current=False)
    app.conf.broker_url = "memory://later"
    app.conf.update(result_backend="cache+memory://")
    assert (app.conf.broker_url, app.conf.result_backend) == ("memory://later", "cache+memory://")


@pytest.mark.parametrize(
    ("url", "master", "tls"),
    [
        ("redis://h/2", None, False),
        ("rediss://h/2", None, True),
        ("sentinel://a,b/m/2", "m", False),
        ("sentinels://a,b/m/2", "m", True),
        ("unix:///run/r.sock?db=2", None, False),
    ],
)
def test_broker_and_results_are_reached_alike(url: str, master: str | None, tls: bool) -> None:
    """Both pools, and that which the event loop of a worker watches."""
    client = Client(url)
    channel_class = client.celery.connection().transport.Channel
    connection = client.celery.connection()
    address = connection.transport_options["address"]
    assert (address.master, address.tls) == (master, tls)
    backend = client.celery.backend.client.connection_pool
    for asynchronous in (False, True):
        channel = channel_class.__new__(channel_class)
        channel.address, channel._registered = address, False
        pool = channel._get_pool(asynchronous)
        made, of_results = pool.make_connection(), backend.make_connection()
        assert isinstance(made, type(of_results))
        assert (made is not None and type(made) is type(of_results)) is not asynchronous
        assert made.db == of_results.db == 2
        assert channel.keyprefix_fanout == "/2."
