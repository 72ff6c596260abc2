"""The model providers by name."""

from __future__ import annotations

from agents.models.anthropic import AnthropicProvider
from agents.models.google import GoogleProvider
from agents.models.openai import OpenAIProvider
from agents.models.provider import SdkProvider

#: Those that come with the service.
PROVIDERS: dict[str, type[SdkProvider]] = {
    provider.name: provider for provider in (OpenAIProvider, AnthropicProvider, GoogleProvider)
}
