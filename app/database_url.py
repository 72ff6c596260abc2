"""Reading the journal's address: every part of it is used, or refused.

Such addresses are made for other libraries too: async drivers, ORMs, other languages. What these
add is taken in the meaning that it has there, or not at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from sqlalchemy import URL

from celery_agents.urls import Parts, split, split_hosts, unreadable

#: The environment's name for it.
DATABASE_URL = "DATABASE_URL"

#: The parameter that says that a pooler gives each transaction another connection.
POOLED = "pgbouncer"
_POSTGRES = frozenset({"postgres", "postgresql"})
_DRIVERS: Mapping[str, frozenset[str]] = {
    "postgresql": frozenset(
        {"psycopg2", "psycopg2cffi", "psycopg", "psycopg_async", "asyncpg", "aiopg", "pg8000"}
    ),
    "sqlite": frozenset({"pysqlite", "aiosqlite"}),
}
_PORT = 5432
_SCHEME = re.compile(
    r"\s*(?P<base>[a-z][a-z0-9]*)(?:\+(?P<driver>[a-z0-9_.+-]+))?://", re.IGNORECASE
)
_LIKE = "postgresql://USER:PASSWORD@HOST/NAME or sqlite:///path/to/journal.db"

#: How many connections, caches and how much patience other libraries have: nothing of where the
#: database is, of how safe the way there is, or of what is read and written.
_OF_OTHERS: frozenset[str] = frozenset().union(
    {"connection_limit", "pool_timeout", "socket_timeout", "statement_cache_size"},  # Prisma
    {"single_use_connections", "supa"},  # Prisma, and Supabase's for it
    {"command_timeout", "max_cached_statement_lifetime", "max_queries", "max_size"},  # asyncpg
    {"min_size", "prepared_statement_cache_size", "prepared_statement_name_func", "timeout"},
    {"async_fallback", "max_overflow", "pool_pre_ping", "pool_recycle", "pool_size"},  # SQLAlchemy
    {"maxsize", "minsize", "prepare_threshold"},  # aiopg, psycopg
    {"conn_health_checks", "conn_max_age"},  # Django
    {"adapter", "checkout_timeout", "encoding", "pool", "prepared_statements"},  # Rails
    {"reaping_frequency"},
    {"binary_parameters", "pool_max", "pool_min", "preparethreshold", "uselibpqcompat"},  # others
)
_SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
#: JDBC's and node's ``ssl``, as libpq takes it; asyncpg's has libpq's words.
_SSL = {"true": "require", "1": "require", "false": "disable", "0": "disable"}
#: Prisma's ``sslaccept``.
_SSL_ACCEPT = {"strict": "verify-full", "accept_invalid_certs": "require"}
#: Prisma's, JDBC's and Go's names for where the tables are.
_SCHEMA = frozenset({"schema", "currentschema", "search_path"})
_SCHEMA_NAMES = re.compile(r"[^\W\d][\w$]{0,62}(,[^\W\d][\w$]{0,62})*")


def read_database_url(text: str, setting: str = DATABASE_URL) -> URL:
    """Read an address; nothing is opened.

    Raises:
        ConfigurationError: it is none, or asks for something that is not served. The error names
            ``setting`` and holds no secret.
    """
    found = _SCHEME.match(text)
    if found is None:
        raise unreadable(setting, f"is not a database URL, such as {_LIKE}")
    base, driver = found["base"].lower(), (found["driver"] or "").lower()
    base = "postgresql" if base in _POSTGRES else base
    if base not in _DRIVERS:
        raise unreadable(setting, f"names {base!r}; the journal needs postgresql:// or sqlite:///")
    if driver and driver not in _DRIVERS[base]:
        raise unreadable(setting, f"names the driver {driver!r}; {base}:// is enough.")
    if base == "sqlite":
        return _sqlite(text[found.end() :].strip(), setting)
    return _postgres(split(text, setting), setting)


def _sqlite(rest: str, setting: str) -> URL:
    """A path stands there as it is: nothing in it is quoted."""
    host, slash, path = rest.partition("/")
    path, _, query = path.partition("?")
    if host or (rest and not slash):
        raise unreadable(setting, "has a host. A file has three slashes: sqlite:///path, or four.")
    if not path.isprintable():
        raise unreadable(setting, "has a line end or a control character in it.")
    _drop_foreign(asked := dict(parse_qsl(query, keep_blank_values=True)))
    if asked:
        raise unreadable(setting, "has parameters; the journal in a file takes none.")
    return URL.create("sqlite", database=path or None)


def _postgres(parts: Parts, setting: str) -> URL:
    query = {name.lower(): value for name, value in parts.query.items()}
    pooled = query.pop(POOLED, "false").lower() in {"true", "1"}
    _drop_foreign(query)
    query |= _ssl(query, setting) | _schema(query, setting)
    _check(query, setting)
    hosts = [(h, p) for h, p in split_hosts(parts.hosts, setting) if h or p]
    if hosts and "host" in query:
        raise unreadable(setting, "names its host twice.")
    if hosts or "host" in query:
        # libpq takes what is not said from PGHOSTADDR, PGPORT, PGOPTIONS: another server's.
        query = {"hostaddr": "", "options": ""} | query
    place: dict[str, Any] = {}
    if len(hosts) == 1:
        place = {"host": hosts[0][0] or "localhost", "port": hosts[0][1] or _PORT}
    several = tuple(f"{host}:{port or _PORT}" for host, port in hosts)
    return URL.create(
        "postgresql+psycopg2",
        username=parts.username,
        password=parts.password,
        database=unquote(parts.path[1:]) or None,
        query=query
        | ({"host": several} if len(hosts) > 1 else {})
        | ({POOLED: "true"} if pooled else {}),
        **place,
    )


def _drop_foreign(query: dict[str, str]) -> None:
    for name in _OF_OTHERS & query.keys():
        del query[name]


def _ssl(query: dict[str, str], setting: str) -> dict[str, str]:
    said = {query["sslmode"]} if "sslmode" in query else set()
    for name, words in (("ssl", _SSL), ("sslaccept", _SSL_ACCEPT)):
        if (value := query.pop(name, None)) is not None:
            said.add(words.get(value.lower(), value))
    if len(said) > 1:
        raise unreadable(setting, "says different things of TLS (sslmode, ssl, sslaccept).")
    if said - _SSL_MODES:
        raise unreadable(
            setting, f"has an sslmode that is none. These are: {', '.join(sorted(_SSL_MODES))}."
        )
    return {"sslmode": said.pop()} if said else {}


def _schema(query: dict[str, str], setting: str) -> dict[str, str]:
    said = {query.pop(name) for name in _SCHEMA & query.keys()}
    if not said:
        return {}
    if len(said) > 1 or not _SCHEMA_NAMES.fullmatch(names := said.pop()):
        raise unreadable(setting, "has a schema that is no name, or has two.")
    path = ",".join(f'"{name}"' for name in names.split(","))
    return {"options": f"{query.get('options', '')} -csearch_path={path}".lstrip()}


def _check(query: Mapping[str, str], setting: str) -> None:
    """The rest is libpq's: whether it knows each, and those that it would only refuse later."""
    if not query:
        return
    from psycopg2 import ProgrammingError
    from psycopg2.extensions import make_dsn

    for name in query:
        try:
            make_dsn(**{name: "1"})
        except ProgrammingError:
            why = f"has the parameter {name}, which PostgreSQL does not know."
            raise unreadable(setting, why) from None
    for name, (good, must_be) in _VALUES.items():
        if name in query and not good(query[name]):
            raise unreadable(setting, f"has a wrong value for {name}, which must be {must_be}.")


def _readable(path: str) -> bool:
    return path in {"", "system"} or os.access(os.path.expanduser(path), os.R_OK)  # noqa: PTH111


def _whole(text: str) -> bool:
    return text.isascii() and text.isdecimal()


_VALUES: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "connect_timeout": (_whole, "whole seconds"),
    "port": (_whole, "a number"),
    "sslrootcert": (_readable, "a file that can be read"),
    "sslcert": (_readable, "a file that can be read"),
    "sslkey": (_readable, "a file that can be read"),
}
