"""The parts of an address, and the errors in one: they name its setting, and tell nothing of it.

Libraries guess where an address is unclear: they cut a password at ``#``, take a database that is
no number for the first one, and drop line ends in the middle. Here it is read as it stands, or
refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from celery_agents.errors import ConfigurationError

_SCHEME = re.compile(r"[a-z][a-z0-9+._-]{0,39}", re.IGNORECASE)
_NAME = re.compile(r"\w{1,60}", re.ASCII)
_PORTS = range(1, 65_536)

#: A host, and its port if it says one.
Host = tuple[str, int | None]


def unreadable(setting: str, why: str) -> ConfigurationError:
    """The error of an address that is no good. ``why`` must not quote what may be a secret."""
    return ConfigurationError(f"{setting} cannot be read: it {why}")


@dataclass(frozen=True, slots=True)
class Parts:
    """An address in parts, decoded; but for the path, which means something else to each reader."""

    scheme: str
    username: str | None
    password: str | None = field(repr=False)
    hosts: str
    path: str
    query: Mapping[str, str] = field(repr=False)


def split(text: str, setting: str) -> Parts:
    """The parts of an address.

    Raises:
        ConfigurationError: it cannot be read in one way alone.
    """
    text = text.strip()
    if not text:
        raise unreadable(setting, "is empty.")
    if not text.isprintable() or " " in text:
        raise unreadable(setting, "has a space, a line end or a control character in it.")
    scheme, found, rest = text.partition("://")
    if not found or not _SCHEME.fullmatch(scheme):
        raise unreadable(
            setting, "does not begin with a scheme, such as redis:// or postgresql://."
        )
    end = re.search(r"[/?#]", rest)
    authority, tail = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    if "@" in tail:
        raise unreadable(
            setting,
            "has an @ behind its host. In a password, / is written %2F, ? %3F, # %23 and @ %40.",
        )
    if "#" in tail:
        raise unreadable(setting, "has a #. In a password it is written %23.")
    userinfo, _, hosts = authority.rpartition("@")
    username, colon, password = userinfo.partition(":")
    path, _, query = tail.partition("?")
    return Parts(
        scheme=scheme.lower(),
        username=unquote(username) or None,
        password=unquote(password) if colon else None,
        hosts=hosts,
        path=path,
        query=_query(query, setting),
    )


def _query(text: str, setting: str) -> dict[str, str]:
    query: dict[str, str] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        if query.setdefault(shown_name(name, setting), value) != value:
            raise unreadable(setting, f"has the parameter {name} twice, with different values.")
    return query


def shown_name(name: str, setting: str) -> str:
    """The name of a parameter, which may be shown.

    Raises:
        ConfigurationError: it looks like none, so it may be a part of a secret.
    """
    if not _NAME.fullmatch(name):
        raise unreadable(setting, "has a ? without parameters. In a password it is written %3F.")
    return name


def split_hosts(text: str, setting: str) -> tuple[Host, ...]:
    """Hosts with their ports, given with commas between them.

    Raises:
        ConfigurationError: a port is none, or a host is missing.
    """
    return tuple(_host(part, setting) for part in text.split(","))


def _host(text: str, setting: str) -> Host:
    found = re.fullmatch(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:]*)(?::(?P<port>.*))?", text)
    if found is None:
        raise unreadable(
            setting, "has a host that cannot be read. An IPv6 address stands in [ and ]."
        )
    host, port = unquote(found["host"]).strip("[]"), found["port"]
    if not port:
        return host, None
    if not (port.isascii() and port.isdecimal() and int(port) in _PORTS):
        raise unreadable(setting, "has a port that is no number from 1 to 65535.")
    return host, int(port)
