"""The model providers by name."""

from __future__ import annotations

from agents.backends.anthropic import AnthropicProvider
from agents.backends.clients import ResolveSecret, SharedClients
from agents.backends.config import ModelConfig
from agents.backends.google import GoogleProvider
from agents.backends.openai import OpenAIProvider
from agents.backends.provider import SdkProvider

_PROVIDERS: dict[str, type[SdkProvider]] = {
    provider.name: provider for provider in (OpenAIProvider, AnthropicProvider, GoogleProvider)
}


def make_provider(
    config: ModelConfig, *, clients: SharedClients, resolve_secret: ResolveSecret
) -> SdkProvider:
    """The provider that a model agent's configuration names. Imports no SDK and needs no key."""
    return _PROVIDERS[config.provider](config, clients=clients, resolve_secret=resolve_secret)
