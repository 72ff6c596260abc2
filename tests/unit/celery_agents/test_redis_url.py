"""Tables of addresses: what each means, and what is refused with the setting's name alone."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_agents.address import RedisAddress
from celery_agents.errors import ConfigurationError
from celery_agents.redis_url import is_redis, read_redis_url
from tests.support.drawn import costly

#: What no error, log or repr may show. Built from parts: it stands for a real one.
SECRET = "hush" + "-hush"


def place(url: str) -> dict[str, Any]:
    """What is served for an address, without what was left at its default."""
    return told(read_redis_url(url))


def told(a: RedisAddress) -> dict[str, Any]:
    usual = told_fully(RedisAddress("", ()))
    return {k: v for k, v in told_fully(a).items() if v != usual[k]}


def told_fully(a: RedisAddress) -> dict[str, Any]:
    return {
        "hosts": a.hosts,
        "socket": a.socket,
        "master": a.master,
        "db": a.database,
        "login": (a.username, a.password),
        "tls": a.tls,
        "options": {**a.options, **a.tls_options},
        "sentinel_login": dict(a.sentinel_login),
    }


LOCAL = {"hosts": (("127.0.0.1", 6379),)}
H = {"hosts": (("h", 6379),)}
SENTINELS = {"hosts": (("a", 26379), ("b", 1)), "master": "m"}

SERVED: dict[str, dict[str, Any]] = {
    "redis://": LOCAL,
    "redis:///": LOCAL,
    "redis:///3": {**LOCAL, "db": 3},
    "redis://h": H,
    "redis://h:6379/0": H,
    "REDIS://h": H,
    "redis://h:7000/15": {"hosts": (("h", 7000),), "db": 15},
    "redis://h?db=2": {**H, "db": 2},
    "redis://h/2?db=2": {**H, "db": 2},
    "redis://h/2/": {**H, "db": 2},
    "redis://h//2": {**H, "db": 2},
    "redis://h?virtual_host=4": {**H, "db": 4},
    "redis://[::1]:6380/1": {"hosts": (("::1", 6380),), "db": 1},
    "redis://10.0.0.1": {"hosts": (("10.0.0.1", 6379),)},
    "redis://my_redis:6379": {"hosts": (("my_redis", 6379),)},
    "redis://h:6379/0\n": H,
    "  redis://h:6379/0\r\n": H,
    "redis://:pw@h": {**H, "login": (None, "pw")},
    "redis://u:pw@h": {**H, "login": ("u", "pw")},
    "redis://u@h": {**H, "login": ("u", None)},
    "redis://:@h": H,
    "redis://:p%40s%2Fs%3F%23%25@h": {**H, "login": (None, "p@s/s?#%")},
    "redis://:p@s@h": {**H, "login": (None, "p@s")},
    "redis://:a:b:c@h": {**H, "login": (None, "a:b:c")},
    "redis://:100%@h": {**H, "login": (None, "100%")},
    "redis://:a+b=c&d;e,f!*()'$~@h": {**H, "login": (None, "a+b=c&d;e,f!*()'$~")},
    "redis://:[x]@h": {**H, "login": (None, "[x]")},
    "redis://:pä€@h": {**H, "login": (None, "pä€")},
    "redis://h?socket_timeout=2.5": {**H, "options": {"socket_timeout": 2.5}},
    "redis://h?socket_keepalive=true&max_connections=5": {
        **H,
        "options": {"socket_keepalive": True, "max_connections": 5},
    },
    "redis://h/1?health_check_interval=30&client_name=me": {
        **H,
        "db": 1,
        "options": {"health_check_interval": 30, "client_name": "me"},
    },
    "valkey://:pw@h/1": {**H, "db": 1, "login": (None, "pw")},
    "valkeys://h": {**H, "tls": True},
    "rediss://h": {**H, "tls": True},
    "rediss://h?ssl_cert_reqs=required": {
        **H,
        "tls": True,
        "options": {"ssl_cert_reqs": ssl.CERT_REQUIRED},
    },
    "rediss://h?ssl_cert_reqs=CERT_NONE": {
        **H,
        "tls": True,
        "options": {"ssl_cert_reqs": ssl.CERT_NONE},
    },
    "rediss://h?ssl_check_hostname=false&ssl_cert_reqs=CERT_OPTIONAL": {
        **H,
        "tls": True,
        "options": {"ssl_check_hostname": False, "ssl_cert_reqs": ssl.CERT_OPTIONAL},
    },
    "unix:///run/redis.sock": {"socket": "/run/redis.sock"},
    "unix://u:pw@/run/redis.sock?db=3": {
        "socket": "/run/redis.sock",
        "db": 3,
        "login": ("u", "pw"),
    },
    "redis+socket:///run/redis.sock?virtual_host=2": {"socket": "/run/redis.sock", "db": 2},
    "socket:///run/a%20b.sock": {"socket": "/run/a b.sock"},
    "sentinel://a,b:1/0?master_name=m": SENTINELS,
    "sentinel://a,b:1?service_name=m": SENTINELS,
    "sentinel://a;sentinel://b:1/0?master_name=m": SENTINELS,
    "sentinel://:pw@a:26379/2;sentinel://:pw@b:1/2?master_name=m": {
        **SENTINELS,
        "db": 2,
        "login": (None, "pw"),
    },
    "sentinel://:p;w@a;sentinel://b:1?master_name=m": {**SENTINELS, "login": (None, "p;w")},
    "redis+sentinel://a,b:1/m/3": {**SENTINELS, "db": 3},
    "redis-sentinel://a,b:1/m": SENTINELS,
    "valkey+sentinel://a,b:1/m/0": SENTINELS,
    "sentinel://u:pw@a,b:1/m?sentinel_username=x&sentinel_password=y": {
        **SENTINELS,
        "login": ("u", "pw"),
        "sentinel_login": {"username": "x", "password": "y"},
    },
    "sentinels://a,b:1/m": {**SENTINELS, "tls": True},
    "rediss+sentinel://a,b:1/m": {**SENTINELS, "tls": True},
    "sentinel://[::1]:1,[::2]/m": {"hosts": (("::1", 1), ("::2", 26379)), "master": "m"},
}

REFUSED: dict[str, str] = {
    "": "is empty",
    " \n": "is empty",
    "localhost:6379": "scheme",
    "h": "scheme",
    f"//:{SECRET}@h": "scheme",
    f'"redis://:{SECRET}@h"': "scheme",
    f"http://u:{SECRET}@h": "http://",
    f"amqp://u:{SECRET}@h//": "amqp://",
    f"redis+cluster://:{SECRET}@h": "redis\\+cluster://",
    f"redis-cluster://:{SECRET}@h": "redis-cluster://",
    f"postgresql://u:{SECRET}@h/d": "postgresql://",
    f"redis://:{SECRET}#x@h:6379/0": "%23",
    f"redis://:{SECRET}/x@h:6379/0": "%2F",
    f"redis://:{SECRET}?x@h:6379/0": "%3F",
    f"redis://:x?{SECRET}=@h:6379/0": "%3F",
    f"redis://:{SECRET}\n@h": "line end",
    f"redis://:{SECRET} x@h": "space",
    f"redis://:{SECRET}\x00@h": "control character",
    f"redis://:{SECRET}@h/0#x": "#",
    f"redis://:{SECRET}@h:port": "port",
    f"redis://:{SECRET}@h:0": "port",
    f"redis://:{SECRET}@h:65536": "port",
    f"redis://:{SECRET}@h:-1": "port",
    f"redis://{SECRET}:x/0": "port",
    f"redis://:{SECRET}@[::1": "IPv6",
    f"redis://:{SECRET}@::1": "port",
    f"redis://:{SECRET}@h/agents": "database",
    f"redis://:{SECRET}@h/-1": "database",
    f"redis://:{SECRET}@h/1.5": "database",
    f"redis://:{SECRET}@h?db=x": "database",
    f"redis://:{SECRET}@h/1?db=2": "two different databases",
    f"redis://:{SECRET}@h?db=1&db=2": "db twice",
    f"redis://:{SECRET}@h?socket_timeout=soon": "socket_timeout.*seconds",
    f"redis://:{SECRET}@h?socket_timeout=0": "socket_timeout",
    f"redis://:{SECRET}@h?socket_timeout=-1": "socket_timeout",
    f"redis://:{SECRET}@h?socket_timeout=inf": "socket_timeout",
    f"redis://:{SECRET}@h?socket_timeout=nan": "socket_timeout",
    f"redis://:{SECRET}@h?retry_on_timeout=maybe": "retry_on_timeout.*true or false",
    f"redis://:{SECRET}@h?max_connections=many": "max_connections",
    f"redis://:{SECRET}@h?decode_responses=true": "decode_responses.*not served",
    f"redis://:{SECRET}@h?family=0": "family.*not served",
    f"redis://:{SECRET}@h?password={SECRET}": "password.*not served",
    f"redis://:{SECRET}@h?{SECRET}": "%3F",
    f"redis://:{SECRET}@h?ssl_cert_reqs=none": "ssl_cert_reqs.*rediss://",
    f"redis://:{SECRET}@h?ssl_ca_certs=/x": "ssl_ca_certs.*rediss://",
    f"rediss://:{SECRET}@h?ssl_cert_reqs=perhaps": "ssl_cert_reqs.*required, optional",
    f"rediss://:{SECRET}@h?ssl_ca_certs=/no/such/file": "ssl_ca_certs.*file",
    f"rediss://:{SECRET}@h?ssl_ca_data=nothing": "cannot be used",
    f"rediss://:{SECRET}@h?ssl_ciphers=nothing": "cannot be used",
    f"redis://:{SECRET}@h,i": "several servers",
    f"redis://:{SECRET}@h;redis://i": "several servers",
    f"redis://:{SECRET}@h?master_name=m": "master_name.*not served",
    f"unix://:{SECRET}@h/run/redis.sock": "socket",
    f"unix://:{SECRET}@": "socket",
    f"unix://:{SECRET}@/run/redis.sock?db=x": "database",
    f"sentinel://:{SECRET}@a,b": "which primary",
    f"sentinel://:{SECRET}@a/0": "which primary",
    f"sentinel://:{SECRET}@a/m?master_name=n": "which primary",
    f"sentinel://:{SECRET}@a?master_name=": "which primary",
    f"sentinel://:{SECRET}@a/m/x": "database",
    f"sentinel://:{SECRET}@a/m;redis://b": "different things",
    f"sentinel://:{SECRET}@a/m/1;sentinel://b/m/2": "different things",
    f"sentinel://:{SECRET}@a:x/m": "port",
}


@pytest.mark.parametrize("url", SERVED)
def test_what_is_served(url: str) -> None:
    assert place(url) == SERVED[url]


@pytest.mark.parametrize("url", REFUSED)
def test_what_is_refused(url: str) -> None:
    with pytest.raises(
        ConfigurationError, match=f"(?s)^REDIS_URL cannot be read: .*{REFUSED[url]}"
    ) as caught:
        read_redis_url(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_error_names_another_setting() -> None:
    with pytest.raises(ConfigurationError, match=r"^result_url cannot"):
        read_redis_url("redis://h/x", "result_url")


@settings(max_examples=costly(100, part=3))
@given(
    login=st.tuples(st.one_of(st.none(), st.text(min_size=1)), st.text(min_size=1)),
    host=st.sampled_from(["h", "redis.example", "127.0.0.1", "[::1]"]),
    port=st.integers(1, 65_535),
    database=st.integers(0, 999),
    scheme=st.sampled_from(["redis", "rediss", "valkey", "valkeys", "unix", "sentinel"]),
)
def test_whatever_is_quoted_is_served_as_it_is(
    login: tuple[str | None, str], host: str, port: int, database: int, scheme: str
) -> None:
    user, password = login
    quoted = f"{quote(user or '', safe='')}:{quote(password, safe='')}"
    where = {
        "unix": f"/run/r.sock?db={database}",
        "sentinel": f"{host}:{port}/m/{database}",
    }.get(scheme, f"{host}:{port}/{database}")
    address = read_redis_url(f"{scheme}://{quoted}@{where}")
    assert (address.username, address.password) == (user, password)
    assert address.database == database
    params = address.parameters()
    assert (params["username"], params["password"], params["db"]) == (user, password, database)
    if scheme not in {"unix", "sentinel"}:
        assert (params["host"], params["port"]) == (host.strip("[]"), port)


@settings(max_examples=costly(100, part=3))
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for url in (text, f"redis://{text}", f"rediss://:{text}@h", f"sentinel://h/m?{text}"):
        try:
            read_redis_url(url)
        except ConfigurationError as error:
            assert str(error).startswith("REDIS_URL cannot be read: ")  # noqa: PT017 - or it is read


@pytest.mark.parametrize(
    ("url", "yes"),
    [
        ("redis://h", True),
        (" rediss://h", True),
        ("VALKEY://h", True),
        ("sentinel://h", True),
        ("unix:///s", True),
        ("cache+memory://", False),
        ("db+sqlite:///x", False),
        ("rpc://", False),
        ("redis", False),
    ],
)
def test_which_addresses_are_a_redis(url: str, yes: bool) -> None:
    assert is_redis(url) is yes


class TestCertificates:
    @pytest.mark.parametrize("name", ["ssl_ca_certs", "ssl_certfile"])
    def test_a_file_that_is_none_is_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "x.pem").write_text("not a certificate")
        with pytest.raises(ConfigurationError, match="PEM"):
            read_redis_url(f"rediss://h?{name}={tmp_path / 'x.pem'}")

    def test_the_password_of_a_key_is_told_nowhere(self) -> None:
        address = read_redis_url(f"rediss://u:{SECRET}@h?ssl_password={SECRET}&ssl_cert_reqs=none")
        for text in (repr(address), address.where, json.dumps(address.__json__())):
            assert SECRET not in text
        assert address.parameters()["ssl_password"] == SECRET
