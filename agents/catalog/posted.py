"""Agents that were made over the API: of kinds without code, with allowed secrets, going outside.

What an entry of ``agents.toml`` may have and one of these may not: functions, tools, tasks of other
apps, others that it hands over to. Its URL is held against the rules each time that it is connected
to (``agents/net/outside.py``), so it is not probed either: a probe would tell who listens where.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field

from agents.catalog.entries import Described
from agents.catalog.kinds import Kind, Resources, entry_of
from agents.catalog.registry import Registered
from agents.models.config import BaseUrl, Price, ResponseBytes
from agents.net.clients import SharedClients
from agents.net.outside import PrivateHosts, outside_client
from celery_agents.agent import Effects
from celery_agents.contracts.base import Contract, HttpUrl, Seconds, SecretName
from celery_agents.errors import ConfigurationError

#: Characters of what an entry says in words.
_WORDS = 100_000


class _Posted(Contract):
    description: Annotated[str, Field(max_length=_WORDS)] = ""
    effects: Effects = "idempotent"
    instructions: Annotated[str, Field(max_length=_WORDS)] | None = None
    request_timeout_s: Seconds | None = None
    max_response_bytes: ResponseBytes | None = None


class PostedModel(_Posted):
    """A language model. Its key is one of ``AGENTS_API_SECRETS``."""

    kind: Literal["openai", "anthropic", "google"]
    model: Annotated[str, Field(min_length=1, max_length=200)]
    base_url: BaseUrl | None = None
    api_key_env: SecretName | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    context_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    stream: bool = False
    structured: Literal["schema", "prompt"] = "schema"
    price: Price | None = None


class PostedService(_Posted):
    """An HTTP service. Its token is one of ``AGENTS_API_SECRETS``."""

    kind: Literal["http"]
    url: HttpUrl
    token_env: SecretName | None = None


PostedEntry = Annotated[PostedModel | PostedService, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True)
class AllowedSecrets:
    """The names of secrets that these agents may use, each with the host that it may go to.

    ``NAME@host``; a bare ``NAME`` goes to the provider's own servers alone. Else whoever may make
    an agent could have any of them sent to a server of his.
    """

    entries: frozenset[str]

    @classmethod
    def of(cls, entries: Iterable[str]) -> Self:
        """Read them."""
        return cls(frozenset(entries))

    def check(self, entry: PostedModel | PostedService) -> None:
        """Look at the secret of an entry.

        Raises:
            ConfigurationError: it may not be used, or not there.
        """
        url = posted_url(entry)
        if isinstance(entry, PostedService):
            field, name = "token_env", entry.token_env
        else:
            field, name = "api_key_env", entry.api_key_env
        if name is None and not url:
            raise ConfigurationError(f"{field}: name one of AGENTS_API_SECRETS.")
        if name is None:
            return
        allowed = f"{name}@{(urlsplit(url).hostname or '').lower()}" if url else name
        if allowed not in self.entries:
            raise ConfigurationError(f"{field}: AGENTS_API_SECRETS does not let it go there.")


class OutsideClients(SharedClients):
    """Clients that go outside alone."""

    def __init__(self, clients: SharedClients, private: PrivateHosts) -> None:
        super().__init__(clients.in_thread)
        self._private = private

    def http(self, httpx2: Any) -> Any:
        """An HTTP client that looks where it goes."""
        return outside_client(httpx2, self._private)


def posted_url(entry: PostedModel | PostedService) -> str | None:
    """The URL that an entry names, if it does."""
    return entry.url if isinstance(entry, PostedService) else entry.base_url


def posted_agent(
    name: str, given: PostedModel | PostedService, kinds: Mapping[str, Kind[Any]], r: Resources
) -> Registered:
    """The agent of an entry that was posted.

    Raises:
        ConfigurationError: no such agent can be made.
    """
    kind = kinds[given.kind]
    entry: Described = entry_of(given.compact() | {"kind": given.kind}, kinds)
    made = kind.make(entry, replace(r, name=name))
    agent = Registered.of(name, entry, kind, made)
    return replace(agent, check=None, provider=None, posted=True)
