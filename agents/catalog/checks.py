"""Ways to check a target's health, as values."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Connect:
    """A check that the host takes a connection."""

    host: str
    port: int
    tls: bool


@dataclass(frozen=True, slots=True)
class Get:
    """A check that the URL answers without an error."""

    url: str


@dataclass(frozen=True, slots=True)
class Served:
    """A check that some worker serves the queue."""

    queue: str


@dataclass(frozen=True, slots=True)
class Question:
    """A check that the agent answers."""

    agent: str
    text: str


@dataclass(frozen=True, slots=True)
class AnyOf:
    """A check that one of these targets is well."""

    targets: tuple[str, ...]


Check = AnyOf | Connect | Get | Served | Question


def connection_to(url: str) -> Connect:
    """Where a client of this URL connects first: its host, or the proxy of the environment."""
    parts = urlsplit(url)
    if proxy := proxy_of(parts.scheme, parts.hostname or ""):
        parts = urlsplit(proxy)
    scheme = parts.scheme if parts.scheme in _PORTS else "http"
    return Connect(parts.hostname or "", parts.port or _PORTS[scheme], scheme == "https")


def proxy_of(scheme: str, host: str) -> str | None:
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
