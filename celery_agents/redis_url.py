"""Reading the address of a Redis or Valkey: every part of it is used, or refused."""

from __future__ import annotations

import math
import os
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import unquote

from celery_agents.address import PORT, SENTINEL_PORT, RedisAddress
from celery_agents.tls import usable
from celery_agents.urls import Host, Parts, split, split_hosts, unreadable

T = TypeVar("T")

#: The environment's name for it, and what holds where nothing is said.
REDIS_URL = "REDIS_URL"
LOCAL = "redis://127.0.0.1:6379/0"

_SOCKET = frozenset({"unix", "socket", "redis+socket", "valkey+socket", "redis+unix"})
_SENTINEL = frozenset({"sentinel", "redis+sentinel", "redis-sentinel", "valkey+sentinel"})
_SENTINEL_TLS = frozenset({"sentinels", "rediss+sentinel", "valkeys+sentinel"})
_SENTINELS = _SENTINEL | _SENTINEL_TLS
_TLS = frozenset({"rediss", "valkeys"}) | _SENTINEL_TLS
#: All that mean Redis, or something that speaks its protocol.
SCHEMES = frozenset({"redis", "valkey"}) | _TLS | _SOCKET | _SENTINEL

_HOST = "127.0.0.1"
_VERIFY = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
_FLAGS = dict.fromkeys(("1", "true", "yes"), True) | dict.fromkeys(("0", "false", "no"), False)


def _flag(text: str) -> bool:
    return _FLAGS[text.lower()]


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (seconds > 0 and math.isfinite(seconds)):
        raise ValueError
    return seconds


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):  # noqa: PLR2004
        raise ValueError
    return int(text)


def _verify(text: str) -> ssl.VerifyMode:
    return _VERIFY[text.lower().removeprefix("cert_")]


def _file(text: str) -> str:
    if not os.access(text, os.R_OK):
        raise ValueError
    return text


#: The parameters of redis-py that are served: how each is read, and what it must be.
_OPTIONS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "socket_timeout": (_seconds, "seconds above 0"),
    "socket_connect_timeout": (_seconds, "seconds above 0"),
    "socket_keepalive": (_flag, "true or false"),
    "retry_on_timeout": (_flag, "true or false"),
    "health_check_interval": (_count, "a whole number"),
    "max_connections": (_count, "a whole number"),
    "client_name": (str, ""),
}
_TLS_OPTIONS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "ssl_cert_reqs": (_verify, "required, optional or none"),
    "ssl_check_hostname": (_flag, "true or false"),
    "ssl_ca_certs": (_file, "a file that can be read"),
    "ssl_ca_path": (_file, "a folder that can be read"),
    "ssl_ca_data": (str, ""),
    "ssl_certfile": (_file, "a file that can be read"),
    "ssl_keyfile": (_file, "a file that can be read"),
    "ssl_password": (str, ""),
    "ssl_ciphers": (str, ""),
}


def read_redis_url(text: str, setting: str = REDIS_URL) -> RedisAddress:
    """Read an address; nothing is connected.

    Raises:
        ConfigurationError: it is none, or asks for something that is not served. The error names
            ``setting`` and holds no secret.
    """
    parts = _parts(text, setting)
    query, tls = dict(parts.query), parts.scheme in _TLS
    numbers = {query.pop(name) for name in ("db", "virtual_host") if name in query}
    if parts.scheme in _SOCKET:
        where = _socket(parts, setting)
    elif parts.scheme in _SENTINELS:
        where, said = _sentinels(parts, query, setting)
        numbers |= said
    else:
        where, said = _server(parts, setting)
        numbers |= said
    options = _taken(query, _OPTIONS, setting)
    tls_options = _taken(query, _TLS_OPTIONS, setting) if tls else {}
    if query:
        raise unreadable(setting, _unknown(min(query), tls=tls))
    if tls and not usable(tls_options):
        raise unreadable(
            setting,
            "has ssl_ parameters that cannot be used. Certificates and keys are PEM files, and "
            "belong together.",
        )
    return replace(
        where,
        database=_number(numbers, setting),
        username=parts.username,
        password=parts.password or None,
        tls=tls,
        options=options,
        tls_options=tls_options,
    )


def is_redis(url: str) -> bool:
    """Return whether the scheme of an address is one of these."""
    scheme, found, _ = url.strip().partition("://")
    return bool(found) and scheme.lower() in SCHEMES


def _parts(text: str, setting: str) -> Parts:
    """The address in parts. Celery writes sentinels as URLs with semicolons between them."""
    urls = re.split(r";(?=[A-Za-z][A-Za-z0-9+.-]*://)", text.strip())
    first, *others = several = [split(url, setting) for url in urls]
    if first.scheme not in SCHEMES:
        raise unreadable(
            setting,
            f"has the scheme {first.scheme}://. The broker is Redis or Valkey: redis://, "
            "rediss:// (TLS), unix://, sentinel:// or sentinels:// (TLS).",
        )
    if others and first.scheme not in _SENTINELS:
        raise unreadable(setting, "names several servers; only sentinels may be several.")

    def agreed(said: Iterable[T]) -> T | None:
        found = [value for value in said if value]
        if any(value != found[0] for value in found):
            raise unreadable(setting, "says different things of the same sentinels.")
        return found[0] if found else None

    return Parts(
        scheme=agreed(p.scheme for p in several) or "",
        username=agreed(p.username for p in several),
        password=agreed(p.password for p in several),
        hosts=",".join(p.hosts for p in several),
        path=agreed(p.path for p in several) or "",
        query=agreed(p.query for p in several) or {},
    )


def _socket(parts: Parts, setting: str) -> RedisAddress:
    if parts.hosts or not parts.path.strip("/"):
        raise unreadable(setting, "names no socket. It is written unix:///path/to/redis.sock")
    return RedisAddress(setting, (), socket=unquote(parts.path))


def _server(parts: Parts, setting: str) -> tuple[RedisAddress, set[str]]:
    """The place, and the database that the path says."""
    hosts = split_hosts(parts.hosts, setting)
    if len(hosts) > 1:
        raise unreadable(setting, "names several servers; only sentinels may be several.")
    said = unquote(parts.path).strip("/")
    return RedisAddress(setting, _with_ports(hosts, PORT)), {said} - {""}


def _sentinels(parts: Parts, query: dict[str, str], setting: str) -> tuple[RedisAddress, set[str]]:
    """As ``sentinel://HOST,HOST/0?master_name=NAME``, or with the name in the path."""
    said = [part for part in unquote(parts.path).split("/") if part]
    masters = {query.pop(name) for name in ("master_name", "service_name") if name in query}
    if said and not said[0].isdecimal():
        masters.add(said.pop(0))
    if len(masters) != 1 or not all(masters):
        raise unreadable(
            setting,
            "does not say which primary the sentinels watch. It is written "
            "sentinel://HOST:26379,HOST:26379/0?master_name=mymaster",
        )
    login = {name: query.pop(f"sentinel_{name}", "") for name in ("username", "password")}
    address = RedisAddress(
        setting,
        _with_ports(split_hosts(parts.hosts, setting), SENTINEL_PORT),
        master=masters.pop(),
        sentinel_login={name: value for name, value in login.items() if value},
    )
    return address, {"/".join(said)} - {""}


def _with_ports(hosts: Iterable[Host], port: int) -> tuple[tuple[str, int], ...]:
    return tuple((host or _HOST, said or port) for host, said in hosts)


def _number(said: set[str], setting: str) -> int:
    if len(said) > 1:
        raise unreadable(setting, "names two different databases.")
    try:
        return _count(said.pop()) if said else 0
    except ValueError:
        raise unreadable(
            setting, "has a database that is no number. It ends like :6379/0"
        ) from None


def _taken(
    query: dict[str, str], known: Mapping[str, tuple[Callable[[str], Any], str]], setting: str
) -> dict[str, Any]:
    """The parameters that are known, taken out of the query."""
    found: dict[str, Any] = {}
    for name in known.keys() & query.keys():
        read, must_be = known[name]
        try:
            found[name] = read(query.pop(name))
        except (ValueError, KeyError):
            raise unreadable(
                setting, f"has a wrong value for {name}: it must be {must_be}."
            ) from None
    return found


def _unknown(name: str, *, tls: bool) -> str:
    if name in _TLS_OPTIONS and not tls:
        return f"has {name}, which needs TLS: the address begins with rediss:// (sentinels://)."
    known = ", ".join(sorted({"db", *_OPTIONS, *(_TLS_OPTIONS if tls else ())}))
    return f"has the parameter {name}, which is not served. These are: {known}."
