"""SDK clients, one per process and endpoint, made when first used on the worker's loop."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable, Hashable
from typing import Any
from urllib.request import getproxies
from weakref import WeakKeyDictionary

from agents.net.bounds import ENCODINGS, bounded
from agents.net.pools import pooled
from agents.net.told_limits import listen
from agents.threads import InThread, in_thread
from celery_agents.errors import ConfigurationError, MissingKeyError, redact

log = logging.getLogger(__name__)

#: Gives a secret by its name (the app's settings, the environment), or None.
ResolveSecret = Callable[[str], str | None]

#: Sockets that one client may hold: above the steps that one worker runs at once.
MAX_CONNECTIONS = 1000
#: Of those that go by a proxy.
MAX_IDLE_CONNECTIONS = 100
#: Seconds for TCP and TLS; the whole request has its own limit.
CONNECT_TIMEOUT_S = 10.0
#: What goes by no proxy, in httpx2's patterns.
DIRECT = ("http://", "all://localhost", "all://127.0.0.0/8", "all://[::1]")


class SharedClients:
    """The clients of one process, by endpoint and key: agents of one provider share one.

    A client is bound to the event loop that it is used on, so each loop has its own.
    """

    def __init__(self, in_thread: InThread = in_thread) -> None:
        self.in_thread = in_thread
        self._modules: dict[str, Any] = {}
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, Any]] = (
            WeakKeyDictionary()
        )

    async def load(self, module: str, *, extra: str) -> Any:
        """Import an SDK, in a thread: it takes up to seconds, and the loop has leases to keep.

        Raises:
            ConfigurationError: it is not installed.
        """
        if module not in self._modules:
            try:
                self._modules[module] = await self.in_thread(
                    importlib.import_module, module, slow=True
                )
            except ImportError as error:
                raise ConfigurationError(
                    f"The package {module!r} cannot be imported ({error}). "
                    f"Install it with: pip install 'celery-agents[{extra}]'"
                ) from None
        return self._modules[module]

    def http(self, httpx2: Any) -> Any:
        """An HTTP client, as agents of the configuration have it; see :func:`http_client`."""
        return http_client(httpx2)

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The client of that key on the running loop, made now if there is none."""
        clients = self._by_loop.setdefault(asyncio.get_running_loop(), {})
        if key not in clients:
            clients[key] = make()
        return clients[key]

    def take(self, key: Hashable) -> Any | None:
        """Remove and return the client, for closing. None when it was never made."""
        return self._by_loop.get(asyncio.get_running_loop(), {}).pop(key, None)


def http_client(httpx2: Any) -> Any:
    """An HTTP client as all backends use it: no redirects, since they would carry keys along.

    Bodies are decoded in pieces (:mod:`agents.net.bounds`). Only connecting has a timeout
    here; the caller limits the whole request. A proxy of the environment carries what it cannot
    read (https), and nothing that stays on this machine.
    """
    context = httpx2.create_ssl_context()  # one: each reads all the certificates
    options = {
        "verify": context,
        "timeout": httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S),
        "limits": httpx2.Limits(
            max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_IDLE_CONNECTIONS
        ),
        "follow_redirects": False,
        "headers": {"Accept-Encoding": ENCODINGS},
        "event_hooks": {"response": [listen, bounded(httpx2)]},
    }
    own = pooled(httpx2, MAX_CONNECTIONS, context)
    direct = dict.fromkeys(DIRECT, own)
    rest = {} if "all" in getproxies() else {"all://": own}
    try:
        return httpx2.AsyncClient(**options, mounts={**rest, **direct})
    except (ImportError, ValueError) as error:  # SOCKS without its package, or no URL
        why = f"The proxy of the environment (HTTPS_PROXY, ALL_PROXY) cannot be used: {error}"
        log.warning("%s Servers on https:// are not asked.", redact(why))

        class Nobody(httpx2.AsyncBaseTransport):
            async def handle_async_request(self, request: Any) -> Any:
                raise httpx2.ConnectError(redact(why), request=request)

        return httpx2.AsyncClient(**options, trust_env=False, mounts={**direct, "all://": Nobody()})


def without_environment(client: Any, **own: Any) -> Any:
    """An SDK's client without what the SDK took from the environment for its other users.

    Headers and identities of such variables were meant for the provider, or for another program,
    and not for each server that an agent names. ``own`` are attributes that are set instead.
    """
    client._custom_headers = {}  # noqa: SLF001 - no argument takes them away
    for name, value in own.items():
        setattr(client, name, value)
    return client


def secret_named(name: str, resolve_secret: ResolveSecret, *, purpose: str) -> str:
    """The secret of that name.

    Raises:
        MissingKeyError: it is not set, or empty.
    """
    secret = (resolve_secret(name) or "").strip()
    if not secret:
        raise MissingKeyError(f"{name} is not set in the worker's environment; {purpose} needs it.")
    return secret
