"""The client's Celery app, which owns its connections and gives each of them back.

Kombu keeps connections in pools of the process, by address: two clients of one Redis share them,
and closing an app closes none. Its own way to empty a pool (``force_close_all``) sets the timeout
of all new sockets of the process for as long as that takes, and cuts what other threads still use.
"""

from __future__ import annotations

import os
from contextlib import suppress
from threading import Lock
from typing import Any
from weakref import WeakSet

from celery.app.amqp import AMQP
from kombu.connection import ConnectionPool
from kombu.pools import ProducerPool
from kombu.utils.functional import lazy

from celery_agents.errors import BrokerUnavailableError
from celery_agents.given import GivenCelery
from celery_agents.wire.results import ResultBackend

#: What is told to those who wait for a connection, or who kept a pool.
_CLOSED = "The client was closed while this waited for a connection. Nothing was sent."


class _Closable:
    """A pool of kombu that can be closed while other threads have its resources."""

    limit: int | None
    _closed: bool
    _resource: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._lock = Lock()
        super().__init__(*args, **kwargs)

    def acquire(self, block: bool = False, timeout: float | None = None) -> Any:
        if self._closed:
            raise BrokerUnavailableError(_CLOSED)
        return super().acquire(block=block, timeout=timeout)  # type: ignore[misc]

    def release(self, resource: Any) -> None:
        with self._lock:
            if not self._closed:
                super().release(resource)  # type: ignore[misc]
                return
        self.forget(resource)

    def force_close_all(self, close_pool: bool = True) -> None:  # noqa: ARG002 - kombu's
        """As :meth:`close`; kombu asks for it when a limit changes."""
        self.close()

    def close(self) -> None:
        """Close what nobody uses; the rest is closed as it is given back."""
        with self._lock:
            self._closed = True
            idle = list(self._take_idle())
            # Each who waits gets it in turn, and puts it back for the next one.
            self._resource.put_nowait(lazy(_refuse))
        for resource in idle:
            self.forget(resource)

    def forget(self, resource: Any) -> None:
        """Close one resource of a closed pool."""
        raise NotImplementedError

    def _take_idle(self) -> Any:
        waiting = self._resource
        with waiting.mutex:  # of all that stands there, as none may be taken meanwhile
            found, waiting.queue[:] = [*waiting.queue], []
        return (resource for resource in found if not isinstance(resource, lazy))


class ClientConnections(_Closable, ConnectionPool):
    """Connections of one client."""

    close_after_fork = False  # the app forgets them: closing would be told to the parent's server

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._defaults = Lock()  # of new connections: who closes the one that has them, or asks it
        super().__init__(*args, **kwargs)

    def new(self) -> Any:
        """Make a connection, which is opened when it is used."""
        with self._defaults:
            return super().new()

    def forget(self, resource: Any) -> None:
        """Close a connection, for good."""
        self._dirty.discard(resource)
        _end(resource)
        self._end_defaults()

    def close(self) -> None:
        """Close what nobody uses, and what kombu asked for the defaults of such connections."""
        super().close()
        self._end_defaults()

    def _end_defaults(self) -> None:
        with self._defaults:
            _end(self.connection)


class ClientProducers(_Closable, ProducerPool):
    """Producers of one client; each has a connection for as long as somebody uses it."""

    close_after_fork = False

    def forget(self, resource: Any) -> None:
        """Give back the connection of a producer."""
        self._dirty.discard(resource)
        if resource.__connection__:
            resource.__connection__.release()
        resource.channel = None


class ClientAMQP(AMQP):
    """Celery's, with the producers of its app."""

    @property
    def producer_pool(self) -> Any:
        """The app's own."""
        return self.app.producer_pool

    publisher_pool = producer_pool


class ClientCelery(GivenCelery):
    """The app of one client: its connections are its own, and :meth:`close` ends them.

    It opens new ones when it is used again.
    """

    amqp_cls = f"{__name__}:{ClientAMQP.__name__}"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._pools: tuple[ClientConnections, ClientProducers] | None = None
        self._pools_lock = Lock()
        super().__init__(*args, **kwargs)
        _APPS.add(self)

    @property
    def pool(self) -> Any:
        """The connections of its broker."""
        return self._opened()[0]

    @property
    def producer_pool(self) -> Any:
        """The producers of its messages."""
        return self._opened()[1]

    @property
    def backend(self) -> Any:
        """Its results: of one backend for all threads, where Celery's may be made by two."""
        if (found := self._backend_cache) is not None:
            return found
        with self._pools_lock:
            return super().backend

    def _opened(self) -> tuple[ClientConnections, ClientProducers]:
        if (found := self._pools) is not None:
            return found
        with self._pools_lock:
            if self._pools is None:
                self._ensure_after_fork()  # of its backend
                limit = self.conf.broker_pool_limit
                connections = ClientConnections(self.connection_for_write(), limit=limit)
                self._pools = connections, ClientProducers(connections, limit=limit)
            return self._pools

    def close(self) -> None:
        """Close all connections that nobody uses; those in use when they are given back."""
        with self._pools_lock:
            pools, self._pools = self._pools, None
        if pools is not None:
            connections, producers = pools
            producers.close()  # first: who waits for one has no connection yet
            connections.close()
        backend = self._backend_cache
        if isinstance(backend, ResultBackend):
            backend.close()
        super().close()

    def forget_connections(self) -> None:
        """Leave the connections to the process that this one was forked from."""
        self._pools, self._pools_lock = None, Lock()
        if isinstance(self._backend_cache, ResultBackend):
            self._backend_cache.forget_client()


_APPS: WeakSet[ClientCelery] = WeakSet()


def _end(connection: Any) -> None:
    """Close a connection for good, with the descriptor that waits for the garbage collector."""
    transport = connection._transport  # noqa: SLF001 - the property makes one
    if transport is None:
        return
    poller = getattr(getattr(transport, "cycle", None), "poller", None)
    with suppress(*transport.connection_errors, *transport.channel_errors, OSError):
        connection._close()  # noqa: SLF001 - `close` of one of a pool gives it back
    if poller is not None:
        poller.close()


def _refuse() -> Any:
    raise BrokerUnavailableError(_CLOSED)


def _forget_all() -> None:
    for app in list(_APPS):
        app.forget_connections()


os.register_at_fork(after_in_child=_forget_all)
