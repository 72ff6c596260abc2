"""An address makes every connection, and says where it is without a secret."""

from __future__ import annotations

import json
import ssl
from typing import Any

import pytest
import redis
from kombu import Connection
from kombu.utils import json as kombu_json
from redis.sentinel import MasterNotFoundError, SentinelConnectionPool

from celery_agents.errors import BrokerUnavailableError, ConfigurationError
from celery_agents.redis_url import read_redis_url
from deploy.local.servers import LOOPBACK
from tests.support.ports import free_port

SECRET = "hush" + "-hush"
DEFAULTS = {"socket_timeout": 5.0, "socket_connect_timeout": 2.0, "socket_keepalive": True}


@pytest.mark.parametrize(
    ("url", "connection"),
    [
        ("redis://h", redis.Connection),
        ("rediss://h", redis.SSLConnection),
        ("valkeys://h", redis.SSLConnection),
        ("unix:///run/r.sock", redis.UnixDomainSocketConnection),
        ("sentinel://a/m", redis.sentinel.SentinelManagedConnection),
        ("sentinels://a/m", redis.sentinel.SentinelManagedSSLConnection),
    ],
)
def test_its_connections(url: str, connection: type[Any]) -> None:
    address = read_redis_url(url)
    pool = address.pool(address.parameters(**DEFAULTS))
    made: Any = pool.make_connection()
    assert type(made) is connection
    assert (made.socket_timeout, made.db) == (5.0, 0)
    secure = isinstance(made, redis.SSLConnection)
    assert secure is address.tls
    if secure:
        assert (made.cert_reqs, made.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_what_it_says_goes_before_the_defaults() -> None:
    made = read_redis_url("redis://h?socket_timeout=1.5&retry_on_timeout=yes").parameters(
        **DEFAULTS
    )
    assert (made["socket_timeout"], made["socket_connect_timeout"]) == (1.5, 2.0)
    assert made["retry_on_timeout"] is True


def test_verification_is_left_out_where_the_address_says_so() -> None:
    address = read_redis_url("rediss://h?ssl_cert_reqs=none")
    made: Any = address.pool(address.parameters()).make_connection()
    assert (made.cert_reqs, made.check_hostname) == (ssl.CERT_NONE, False)


def test_sentinels_have_their_own_login_and_no_retries() -> None:
    address = read_redis_url(f"sentinels://u:{SECRET}@a,b:1/m/2?sentinel_password=theirs")
    pool = address.pool(address.parameters(**DEFAULTS))
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "m"
    assert pool.connection_kwargs["password"] == SECRET
    assert pool.connection_kwargs["db"] == 2
    for sentinel, place in zip(pool.sentinel_manager.sentinels, address.hosts, strict=True):
        kwargs = sentinel.connection_pool.connection_kwargs
        assert (kwargs["host"], kwargs["port"]) == place
        assert (kwargs["username"], kwargs["password"]) == (None, "theirs")
        assert sentinel.connection_pool.connection_class is redis.SSLConnection
        assert kwargs["ssl_cert_reqs"] == ssl.CERT_REQUIRED
        assert kwargs["socket_timeout"] == 5.0
        assert kwargs["retry"].get_retries() == 0


def test_sentinels_that_are_down_are_one_short_error() -> None:
    url = f"sentinel://:{SECRET}@{LOOPBACK}:{free_port()}/m"
    with pytest.raises(MasterNotFoundError) as caught:
        read_redis_url(url).client(**DEFAULTS).ping()
    assert len(str(caught.value)) < 100
    assert isinstance(caught.value.__cause__, redis.ConnectionError)


@pytest.mark.parametrize(
    ("url", "where", "broker_url"),
    [
        ("redis://:{}@h/3", "h:6379", "redis://:{}@h/3"),
        ("valkeys://u:{}@h:1", "h:1", "rediss://u:{}@h:1/0"),
        ("redis://:{}@[::1]:1/0", "[::1]:1", "redis://:{}@[::1]:1/0"),
        ("unix://:{}@/run/r.sock?db=1", "/run/r.sock", "unix://:{}@/run/r.sock"),
        ("sentinel://:{}@a,b:1/m/2", "'m' (sentinels a:26379, b:1)", "sentinel://:{}@a/2"),
    ],
)
def test_what_is_shown_of_it(url: str, where: str, broker_url: str) -> None:
    address = read_redis_url(url.format(SECRET))
    assert address.where == where
    assert address.broker_url == broker_url.format(SECRET)
    assert where in repr(address)
    for shown in (
        repr(address),
        kombu_json.dumps({"address": address}),
        str(address.error(OSError())),
    ):
        assert SECRET not in shown


@pytest.mark.parametrize("password", ["p@s/s?#;%", "+", "ä€", "a;sentinel://b"])
def test_kombu_reads_its_form_alike(password: str) -> None:
    """What kombu shows, and what it tells connections apart by."""
    from urllib.parse import quote

    address = read_redis_url(f"redis://u:{quote(password, safe='')}@h:1/2")
    kombu = Connection(address.broker_url, transport="celery_agents.transport:Transport")
    assert (kombu.hostname, kombu.port, kombu.userid, kombu.password) == ("h", 1, "u", password)
    assert (kombu.virtual_host, kombu.alt) == ("2", [])


def test_different_options_are_different_connections_to_kombu() -> None:
    """It shares those whose options look the same."""
    urls = ("rediss://h", "rediss://h?ssl_cert_reqs=none", "rediss://h?socket_timeout=1")
    assert len({repr(read_redis_url(url)) for url in urls}) == len(urls)


def failed(*causes: BaseException) -> BaseException:
    """The last error, raised because of those before it."""
    error, *others = causes
    for other in others:
        other.__cause__ = error
        error = other
    return error


def untrusted() -> ssl.SSLError:
    return ssl.SSLCertVerificationError(1, "certificate verify failed")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (failed(untrusted(), redis.ConnectionError()), ConfigurationError),
        (failed(untrusted(), redis.ConnectionError(), MasterNotFoundError()), ConfigurationError),
        (
            failed(ssl.SSLError(1, "wrong version number"), redis.ConnectionError()),
            ConfigurationError,
        ),
        (failed(ssl.SSLEOFError(8, "EOF"), redis.ConnectionError()), BrokerUnavailableError),
        (failed(ConnectionRefusedError(), redis.ConnectionError()), BrokerUnavailableError),
        (TimeoutError(), BrokerUnavailableError),
        (redis.BusyLoadingError(), BrokerUnavailableError),
    ],
)
def test_what_a_failure_means(error: BaseException, kind: type[Exception]) -> None:
    address = read_redis_url("rediss://h")
    assert type(address.error(error)) is kind
    assert "REDIS_URL" in str(address.error(error))
    if kind is ConfigurationError:
        with pytest.raises(ConfigurationError):
            address.raise_if_refused(error)
    else:
        address.raise_if_refused(error)


def test_a_loop_of_causes_ends() -> None:
    one, two = OSError(), OSError()
    one.__cause__, two.__cause__ = two, one
    assert isinstance(read_redis_url("rediss://h").error(one), BrokerUnavailableError)
    json.dumps(read_redis_url("redis://h").__json__())
