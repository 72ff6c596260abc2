"""Looking at agents without asking them anything: a probe costs nothing unless its entry says so.

Functions were imported when this worker started, so they are well. Services and models are well
when their host takes a connection, or their ``health_url`` answers; tasks of other apps when some
worker serves their queue. Only an entry with a ``probe`` is really asked.
"""

from __future__ import annotations

import asyncio
import ssl
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener, getproxies, proxy_bypass

from agents.base import Answer, Turn
from agents.catalog.entries import CeleryEntry, Entry, HttpEntry, ModelEntry
from agents.catalog.registry import Registered
from agents.performing import Perform, performed
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import redact

#: Checks under way at once.
AT_ONCE = 32
#: Where the SDKs go when an entry has no ``base_url``.
_HOSTS = {
    "openai": "https://api.openai.com",
    "anthropic": "https://api.anthropic.com",
    "google": "https://generativelanguage.googleapis.com",
}
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Probe:
    """What one look at a target found."""

    target: str
    error: str | None = None  # None: it is well
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Connect:
    """The host takes a connection."""

    host: str
    port: int
    tls: bool


@dataclass(frozen=True, slots=True)
class Get:
    """The URL answers without an error."""

    url: str


@dataclass(frozen=True, slots=True)
class Served:
    """Some worker serves the queue."""

    queue: str


@dataclass(frozen=True, slots=True)
class Question:
    """The agent answers."""

    agent: str
    text: str


Check = Connect | Get | Served | Question
#: Gives the queues that are served; blocks for about a second, so it runs in a thread.
Queues = Callable[[], set[str]]


def provider_of(entry: Entry) -> str | None:
    """The target that stands for a model's provider; another server is another provider."""
    if not isinstance(entry, ModelEntry):
        return None
    host = f"@{urlsplit(entry.base_url).netloc}" if entry.base_url else ""
    return f"provider:{entry.provider}{host}"


def checks_of(agents: Iterable[Registered]) -> dict[str, Check | None]:
    """How each agent and provider is looked at; None where there is nothing to look at."""
    found: dict[str, Check | None] = {}
    for agent in agents:
        found[f"agent:{agent.name}"] = _check(agent)
        if isinstance(agent.entry, ModelEntry):
            found[provider_of(agent.entry) or ""] = connection_to(_url(agent.entry))
    return found


def _check(agent: Registered) -> Check | None:
    entry = agent.entry
    if entry is not None and entry.probe is not None:
        return Question(agent.name, entry.probe)
    match entry:
        case HttpEntry() | ModelEntry():
            return Get(entry.health_url) if entry.health_url else connection_to(_url(entry))
        case CeleryEntry():
            return Served(entry.queue)
        case _:
            return None


def _url(entry: HttpEntry | ModelEntry) -> str:
    if isinstance(entry, HttpEntry):
        return entry.url
    return entry.base_url or _HOSTS[entry.provider]


def connection_to(url: str) -> Connect:
    """Where a client of this URL connects first: its host, or the proxy of the environment."""
    parts = urlsplit(url)
    if proxy := _proxy_of(parts.scheme, parts.hostname or ""):
        parts = urlsplit(proxy)
    scheme = parts.scheme if parts.scheme in _PORTS else "http"
    return Connect(parts.hostname or "", parts.port or _PORTS[scheme], scheme == "https")


def _proxy_of(scheme: str, host: str) -> str | None:
    """The proxy that the agents' own clients use (agents/net/clients.py): for https alone."""
    proxies = getproxies()
    proxy = proxies.get("https") or proxies.get("all")
    if scheme != "https" or not proxy or _is_local(host) or proxy_bypass(host):
        return None
    return proxy if "//" in proxy else f"http://{proxy}"


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


async def probe_agents(
    agents: Iterable[Registered], *, timeout_s: float, queues: Queues
) -> list[Probe]:
    """Look at agents and providers, each check once and all at the same time."""
    known = {a.name: a for a in agents}
    checks = checks_of(known.values())
    wanted = list(dict.fromkeys(c for c in checks.values() if c is not None))
    served: set[str] = set()
    if any(isinstance(c, Served) for c in wanted):
        served = await asyncio.to_thread(queues)
    limit = asyncio.Semaphore(AT_ONCE)

    async def look(check: Check) -> tuple[str | None, float]:
        async with limit:
            began = time.perf_counter()
            error = await _error_of(check, known, served, timeout_s)
            return error, (time.perf_counter() - began) * 1000

    found = dict(zip(wanted, await asyncio.gather(*map(look, wanted)), strict=True))
    return [
        Probe(target, *(found[check] if check is not None else (None, None)))
        for target, check in checks.items()
    ]


async def _error_of(
    check: Check, agents: dict[str, Registered], served: set[str], timeout_s: float
) -> str | None:
    try:
        async with asyncio.timeout(timeout_s):
            match check:
                case Connect():
                    await _connect(check)
                case Get(url):
                    await asyncio.to_thread(_get, url, timeout_s)
                case Served(queue):
                    return None if queue in served else f"No worker serves the queue {queue!r}."
                case Question(agent, text):
                    await agents[agent].backend.answer(Turn(input=text), _Apart())
    except TimeoutError:
        return f"No answer within {timeout_s:g} s."
    except Exception as error:  # noqa: BLE001 - whatever it is, the target is not well
        return redact(f"{type(error).__name__}: {error}")
    return None


async def _connect(where: Connect) -> None:
    tls = _any_certificate() if where.tls else None
    _, writer = await asyncio.open_connection(where.host, where.port, ssl=tls)
    writer.transport.abort()


@cache
def _any_certificate() -> ssl.SSLContext:
    """Nothing is sent, so it does not matter who answers; the agents' own clients do check."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _get(url: str, timeout_s: float) -> None:
    parts = urlsplit(url)
    proxy = _proxy_of(parts.scheme, parts.hostname or "")
    opener = build_opener(ProxyHandler({"https": proxy} if proxy else {}))
    with opener.open(url, timeout=timeout_s):
        pass


class _Apart:
    """A turn that belongs to no step: nothing of it is journaled."""

    def __init__(self) -> None:
        self.step_id = self.run_id = f"probe-{uuid.uuid4()}"
        self.attempt = self.tries = 1

    async def call(
        self,
        name: str,  # noqa: ARG002 - the protocol's
        perform: Perform,
        *,
        fingerprint: str = "",  # noqa: ARG002 - the protocol's
    ) -> Answer:
        return await performed("probe", perform, str(uuid.uuid4()))

    async def progress(self, **fields: JsonValue) -> None:
        """Nobody watches."""
