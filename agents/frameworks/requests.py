"""A request that an SDK sends, as the step knows it: by its content, with its tokens and price."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from agents.governance.lessons import Own
from agents.models.config import ModelConfig, Price, ProviderName
from agents.models.prices import PriceList, usage_of
from agents.models.provider import ModelRequest, Tokens
from agents.models.reading import anthropic, google, openai
from agents.models.reading.bodies import bodies
from agents.models.reading.shapes import listed, mapping
from agents.models.sizing import Sizing
from agents.needs import Needs, Quote
from agents.values import digest, text_of
from celery_agents.contracts.outcome import Usage
from celery_agents.errors import BadAnswerError

#: Where requests of each provider's own go; elsewhere a model of the same name has other prices.
_OWN = {
    "openai": "api.openai.com",
    "anthropic": "api.anthropic.com",
    "google": "generativelanguage.googleapis.com",
}
_TOKENS = {
    "openai": openai.tokens_of,
    "anthropic": anthropic.tokens_of,
    "google": google.tokens_of,
}
#: Names under which requests say how long the answer may be.
_LENGTHS = ("max_completion_tokens", "max_output_tokens", "max_tokens", "maxOutputTokens")
#: Gemini's paths: ``…/models/gemini-2.5-flash:generateContent``.
_GEMINI = re.compile(r"/models/([^/:]+):(\w+)$")
_NAME_MAX = 200
#: Where models are that are not known, so that nobody's prices are theirs.
_ELSEWHERE = "https://elsewhere.invalid"


@dataclass(frozen=True, slots=True)
class SdkRequest:
    """One request with a JSON body."""

    provider: ProviderName
    model: str  # empty: it asks no model
    url: str  # without what stands behind its ``?``
    about: tuple[tuple[str, str], ...]  # that, without keys
    body: Any
    streams: bool

    @classmethod
    def of(cls, method: str, url: str, content_type: str, content: bytes) -> Self | None:
        """The request, where it is one that may cost something or change something."""
        if method != "POST" or "json" not in content_type:
            return None
        try:
            body = json.loads(content)
        except ValueError:
            return None
        parts = urlsplit(url)
        gemini = _GEMINI.search(parts.path)
        told = body.get("model") if isinstance(body, dict) else None
        model = told if isinstance(told, str) else gemini[1] if gemini else ""
        streams = mapping(body).get("stream") is True
        return cls(
            _provider(parts.path),
            model[:_NAME_MAX],
            parts._replace(query="", fragment="").geturl(),
            tuple(pair for pair in parse_qsl(parts.query) if pair[0] != "key"),
            body,
            streams or (gemini is not None and gemini[2].startswith("stream")),
        )

    @property
    def name(self) -> str:
        """The name of its call."""
        told = f"model:{self.provider}/{self.model}" if self.model else f"post:{self.url}"
        return "".join(c if c.isprintable() else "?" for c in told)[:_NAME_MAX]

    @property
    def fingerprint(self) -> str:
        """The digest of all that is asked."""
        return digest([self.url, self.about, self.body])

    @property
    def base_url(self) -> str | None:
        """The server, where it is not the provider's own."""
        parts = urlsplit(self.url)
        if parts.hostname == _OWN[self.provider]:
            return None
        return f"{parts.scheme}://{parts.netloc}"

    def config(self, price: Price | None) -> ModelConfig:
        """The model that it asks, as prices are looked up."""
        about: Any = {"provider": self.provider, "model": self.model, "base_url": self.base_url}
        return ModelConfig(**about, price=price)

    async def tokens(self, answer: bytes) -> Tokens | None:
        """The tokens that an answer tells."""
        return await _told(self.provider, answer)

    def as_request(self) -> ModelRequest:
        """The request as sizes are estimated of it: all of its text is read by the model."""
        body = mapping(self.body)
        config = mapping(body.get("generationConfig"))
        lengths = (place.get(name) for place in (body, config) for name in _LENGTHS)
        most = next((n for n in lengths if isinstance(n, int) and n > 0), None)
        user = text_of(_without_files(body))
        return ModelRequest(
            model=self.model, system=None, user=user, max_output_tokens=most, stream=self.streams
        )


class PricedModel:
    """A model that requests go to: it knows what those will take, and what they have cost.

    Args:
        priced_by: where its price is said, if it is unknown; empty: in the agent's entry.
    """

    def __init__(self, config: ModelConfig, priced_by: str = "") -> None:
        self._priced_by = priced_by
        self._sizing = Sizing(config, Own())
        self._prices = PriceList(config)

    def expect(self, request: ModelRequest) -> Expected:
        """Say what a request will take."""
        return Expected(self._sizing, request, self._priced_by)

    async def usage(self, request: ModelRequest, tokens: Tokens | None) -> Usage:
        """The usage of an answer that took these tokens; None: nobody told."""
        self._sizing.learn(request, tokens)
        return usage_of((await self._prices.now()).rates, tokens)


def priced_model(system: str, name: str, price: Price | None, priced_by: str) -> PricedModel:
    """A model as another library names it and its provider; of some the prices are known.

    ``priced_by`` says where its price is given, if it is unknown.
    """
    provider = next((p for p in _OWN if system.startswith(p)), None)
    about: Any = {"provider": provider or "openai", "model": name[:_NAME_MAX] or "unknown"}
    config = ModelConfig(**about, price=price, base_url=None if provider else _ELSEWHERE)
    return PricedModel(config, priced_by)


class Expected:
    """Says what one request will take and cost; it is asked only where somebody counts."""

    def __init__(self, sizing: Sizing, request: ModelRequest, priced_by: str) -> None:
        self._sizing = sizing
        self._request = request
        self._priced_by = priced_by

    def __call__(self) -> Needs:
        """The tokens that are likely."""
        return self._sizing.needs(self._request)

    async def quote(self, *, worst: bool) -> Quote:
        """The offer; see :class:`agents.needs.Quoted`."""
        quote = await self._sizing.quote(self._request, int, worst=worst)
        return quote._replace(priced_by=self._priced_by)


def _provider(path: str) -> ProviderName:
    """The provider whose protocol is spoken at that path."""
    if _GEMINI.search(path):
        return "google"
    return "anthropic" if path.rstrip("/").endswith("/messages") else "openai"


async def _told(provider: ProviderName, answer: bytes) -> Tokens | None:
    usage: dict[str, Any] = {}
    try:
        async for body in bodies(_once(answer), who=provider):
            usage |= _usage_in(mapping(body.value))
    except BadAnswerError:  # the SDK tells its user what is wrong with it
        return None
    return _TOKENS[provider](usage)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _usage_in(value: Mapping[str, Any]) -> dict[str, Any]:
    """The counts of a body; those of a stream are counts of all of it so far."""
    found: dict[str, Any] = {}
    for place in (value, mapping(value.get("message")), mapping(value.get("response"))):
        told = mapping(place.get("usage") or place.get("usageMetadata"))
        found |= {name: count for name, count in told.items() if count is not None}
    return found


def _without_files(body: Any) -> Any:
    """The same without what is sent in it as a file: nobody knows how many tokens that takes."""
    if isinstance(body, dict):
        return {k: _without_files(v) for k, v in body.items() if k not in _FILES}
    return [_without_files(v) for v in listed(body)] if isinstance(body, list) else body


_FILES = frozenset({"image_url", "file_data", "data", "inlineData", "inline_data", "input_audio"})
