"""The broker's address, as a value that makes every connection to it.

Celery, kombu, redis-py, redbeat and Flower each read an address in their own way, and what one of
them verifies another sends in plain text. So it is read once (``celery_agents/redis_url.py``), and
the connections of the client, the workers, beat and the commands are made from what was read.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from redis import Connection, ConnectionPool, Redis, SSLConnection, UnixDomainSocketConnection
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from redis.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from celery_agents.errors import AgentsError, BrokerUnavailableError, ConfigurationError
from celery_agents.redaction import clause
from celery_agents.redaction.judging import HIDDEN
from celery_agents.tls import KEY_PASSWORD, refused

if TYPE_CHECKING:
    from redis.asyncio import Redis as LoopRedis

#: Where nothing is said.
PORT, SENTINEL_PORT = 6379, 26379
#: Options of redis-py that a Unix socket does not have.
_TCP_ONLY = frozenset({"socket_connect_timeout", "socket_keepalive"})


class Sentinels(Sentinel):
    """redis-py's, whose error has a cause and does not describe each connection."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the primary's address, from the first sentinel that knows it.

        Raises:
            MasterNotFoundError: none knows, or none answers.
        """
        failure: Exception | None = None
        for number, sentinel in enumerate(self.sentinels):
            try:
                masters: Any = sentinel.sentinel_masters()
            except (RedisConnectionError, RedisTimeoutError) as error:
                failure = error
                continue
            state = masters.get(service_name)
            if state and self.check_master_state(state, service_name):  # type: ignore[no-untyped-call]
                # Asked first from now on: one that is down costs its timeout.
                first = self.sentinels[0]
                self.sentinels[0], self.sentinels[number] = sentinel, first
                return state["ip"], state["port"]
        raise MasterNotFoundError(
            f"no sentinel names the primary {service_name!r}"
            if failure is None
            else f"a sentinel does not answer ({type(failure).__name__}), none names a primary"
        ) from failure


@dataclass(frozen=True, slots=True, repr=False)
class RedisAddress:
    """A Redis: one that is named, or the primary that sentinels name.

    It stands among the options of Celery, which shows them: neither its ``repr`` nor its JSON
    tells a secret.
    """

    setting: str
    hosts: tuple[tuple[str, int], ...]  # of the server or the sentinels; none with a socket
    socket: str | None = None
    master: str | None = None  # what the sentinels call the primary
    database: int = 0
    username: str | None = None
    password: str | None = None
    tls: bool = False
    #: Options of redis-py: of every connection, of those with TLS, and who the sentinels take.
    options: Mapping[str, Any] = field(default_factory=dict)
    tls_options: Mapping[str, Any] = field(default_factory=dict)
    sentinel_login: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        told = {**self.options, **self.tls_options}
        about = [f"{k}={v}" for k, v in sorted(told.items()) if k != KEY_PASSWORD]
        secure = ["TLS"] if self.tls else []
        return f"<{', '.join([self.where, f'database {self.database}', *secure, *about])}>"

    __json__ = __repr__

    @property
    def where(self) -> str:
        """The place, for people."""
        if self.socket is not None:
            return self.socket
        hosts = ", ".join(f"[{h}]:{p}" if ":" in h else f"{h}:{p}" for h, p in self.hosts)
        return hosts if self.master is None else f"{self.master!r} (sentinels {hosts})"

    @property
    def broker_url(self) -> str:
        """The place as kombu reads it, for what shows it: connections are made from this value."""
        return self._url("" if self.password is None else f":{quote(self.password, safe='')}")

    @property
    def shown_url(self) -> str:
        """The same without the password, for what Celery shows as it is."""
        return self._url("" if self.password is None else f":{HIDDEN}")

    def _url(self, login: str) -> str:
        login = quote(self.username or "", safe="") + login
        at = f"{login}@" if login else ""
        if self.socket is not None:
            return f"unix://{at}{quote(self.socket)}"
        scheme, usual = ("redis", PORT) if self.master is None else ("sentinel", SENTINEL_PORT)
        host, port = self.hosts[0]  # several would be brokers that kombu changes between
        place = (f"[{host}]" if ":" in host else quote(host)) + f":{port}" * (port != usual)
        return f"{scheme}{'s' * self.tls}://{at}{place}/{self.database}"

    def parameters(self, **defaults: Any) -> dict[str, Any]:
        """Return the arguments of :meth:`pool`; the address's own go before the defaults."""
        login = {"db": self.database, "username": self.username, "password": self.password}
        about = {**defaults, **self.options, **login, "connection_class": self._connection_class}
        if self.socket is not None:
            return {**{k: v for k, v in about.items() if k not in _TCP_ONLY}, "path": self.socket}
        if self.master is None:
            about["host"], about["port"] = self.hosts[0]
        return about | self._tls

    def pool(self, parameters: Mapping[str, Any]) -> ConnectionPool:
        """A pool of redis-py; nothing is opened before its first use."""
        if self.master is None:
            return ConnectionPool(**parameters)
        about = {k: v for k, v in parameters.items() if k.startswith("socket_")}
        # One that is down is not tried again: the others know as much.
        about |= {"ssl": self.tls, **self._tls, "retry": Retry(NoBackoff(), 0)}
        about |= self.sentinel_login
        sentinels = Sentinels(self.hosts, sentinel_kwargs=about)  # type: ignore[no-untyped-call]
        return SentinelConnectionPool(self.master, sentinels, **parameters)  # type: ignore[no-untyped-call]

    def client(self, **defaults: Any) -> Redis:
        """A client of redis-py; nothing is opened before its first use."""
        return Redis.from_pool(self.pool(self.parameters(**defaults)))

    def loop_client(self, **defaults: Any) -> LoopRedis | None:
        """A client for one event loop; None where sentinels name the server."""
        if self.master is not None:
            return None
        from redis import asyncio as on_loop  # most clients need no loop

        kind: type[Any] = on_loop.SSLConnection if self.tls else on_loop.Connection
        if self.socket is not None:
            kind = on_loop.UnixDomainSocketConnection
        about = {**self.parameters(**defaults), "connection_class": kind}
        return on_loop.Redis.from_pool(on_loop.ConnectionPool(**about))

    @property
    def _tls(self) -> dict[str, Any]:
        return {"ssl_cert_reqs": ssl.CERT_REQUIRED, **self.tls_options} if self.tls else {}

    @property
    def _connection_class(self) -> type[Any]:
        if self.socket is not None:
            return UnixDomainSocketConnection
        if self.master is not None:
            return SentinelManagedSSLConnection if self.tls else SentinelManagedConnection
        return SSLConnection if self.tls else Connection

    def error(
        self, error: BaseException, *, did: str = "does not answer", note: str = ""
    ) -> AgentsError:
        """Translate a failure: the setting is wrong, or the server is away."""
        if (why := refused(error)) is not None:
            return ConfigurationError(
                f"{self.setting} names {self.where}, {why}. Nothing was sent."
            )
        return BrokerUnavailableError(
            f"The Redis broker at {self.where} {did}: {clause(error.__cause__ or error)}. "
            f"Check {self.setting} and that the server is up.{note}"
        )

    def raise_if_refused(self, error: BaseException) -> None:
        """Raise an error for a wrong setting at once; other failures are waited for.

        Raises:
            ConfigurationError: TLS is not possible, or the certificate is not trusted.
        """
        problem = self.error(error)
        if isinstance(problem, ConfigurationError):
            raise problem from error
