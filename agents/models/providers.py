"""The model providers by name."""

from __future__ import annotations

from agents.models.anthropic import AnthropicProvider
from agents.models.config import ModelConfig
from agents.models.google import GoogleProvider
from agents.models.openai import OpenAIProvider
from agents.models.provider import SdkProvider
from agents.net.clients import ResolveSecret, SharedClients

_PROVIDERS: dict[str, type[SdkProvider]] = {
    provider.name: provider for provider in (OpenAIProvider, AnthropicProvider, GoogleProvider)
}


def endpoint_of(config: ModelConfig) -> str:
    """Where requests of a configuration go."""
    return config.base_url or _PROVIDERS[config.provider].endpoint


def make_provider(
    config: ModelConfig, *, clients: SharedClients, resolve_secret: ResolveSecret
) -> SdkProvider:
    """The provider that a model agent's configuration names. Imports no SDK and needs no key."""
    return _PROVIDERS[config.provider](config, clients=clients, resolve_secret=resolve_secret)
