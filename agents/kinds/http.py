"""An agent that is an HTTP service.

It gets ``POST`` with the JSON object ``{"input", "instructions", "choices", "schema", "step_id",
"run_id", "attempt"}`` and an ``Idempotency-Key`` header. It answers with any JSON value, or with
``{"value": …, "usage": {…}}``, where usage has the fields of ``Usage``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import ValidationError

from agents.base import Answer, StepContext, Turn
from agents.caching.cacheable import Caching, meaning_of
from agents.models.config import ResponseBytes
from agents.needs import Needs
from agents.net.clients import ResolveSecret, SharedClients, secret_named
from agents.net.faults import FailedError, scrub, told_error
from agents.values import digest, json_or_text, parse_json, sendable, shown, text_of
from celery_agents.contracts.base import Contract, HttpUrl, JsonValue, Seconds, SecretName
from celery_agents.contracts.outcome import Usage
from celery_agents.errors import BadAnswerError, ProviderUnavailableError

_CLIENT = "http"  # one client for all services: it holds no key


class HttpConfig(Contract):
    """An agent that is an HTTP service."""

    url: HttpUrl
    instructions: str | None = None
    #: The name of the secret that is sent as a bearer token, if any.
    token_env: SecretName | None = None
    #: For the whole exchange, from connecting to the last byte.
    request_timeout_s: Seconds = 60.0
    #: More than this is not read: an answer must fit a payload.
    max_response_bytes: ResponseBytes = 256 * 1024


class HttpBackend:
    """A configured HTTP service. Redirects are not followed: they would carry the token along."""

    def __init__(
        self,
        config: HttpConfig,
        *,
        clients: SharedClients,
        resolve_secret: ResolveSecret,
        caching: Caching | None = None,
    ) -> None:
        self.config = config
        self._caching = caching
        self._clients = clients
        self._resolve_secret = resolve_secret
        self._who = f"The service {config.url.split('?', 1)[0]}"

    async def answer(self, turn: Turn, step: StepContext) -> Answer:
        """Ask the service once, journaled.

        Raises:
            InvalidPayloadError: the input cannot be sent.
            RateLimitedError, ProviderUnavailableError, ProviderRefusedError: as it answered.
            BadAnswerError: what it answered is not JSON, or too long.
            MissingKeyError: the token is not set.
        """
        question = self._question(turn)
        sendable(text_of(question))

        async def perform(idempotency_key: str) -> Answer:
            # The same in each attempt, as its key is: services may compare.
            body = question | {"step_id": step.step_id, "run_id": step.run_id}
            limit = self.config.request_timeout_s
            try:
                async with asyncio.timeout(limit):
                    return self._read(await self._post(body, idempotency_key))
            except TimeoutError:
                message = f"{self._who} did not answer within {limit:g} s."
                raise ProviderUnavailableError(message) from None

        about = [self.config.url, question]
        cache = None
        if self._caching is not None:
            cache = self._caching.of(about, meaning=meaning_of(turn, self.config.url))
        fingerprint = digest(about)
        return await step.call("http", perform, fingerprint=fingerprint, expect=Needs, cache=cache)

    async def aclose(self) -> None:
        """Close the HTTP client, which the agents of this kind share."""
        client = self._clients.take(_CLIENT)
        if client is not None:
            await client.aclose()

    def _question(self, turn: Turn) -> dict[str, JsonValue]:
        parts = (self.config.instructions, turn.instructions)
        return {
            "input": turn.input,
            "instructions": "\n\n".join(part for part in parts if part) or None,
            "choices": None if turn.choices is None else list(turn.choices),
            "schema": turn.answer_schema,
            **({"messages": [m.compact() for m in turn.messages]} if turn.messages else {}),
        }

    async def _post(self, body: dict[str, JsonValue], idempotency_key: str) -> bytes:
        # Not compressed, so that the limit on bytes read is one on memory too.
        headers = {"Idempotency-Key": idempotency_key, "Accept-Encoding": "identity"}
        secret: str | None = None
        if self.config.token_env is not None:
            secret = secret_named(self.config.token_env, self._resolve_secret, purpose=self._who)
            headers["Authorization"] = f"Bearer {secret}"
        httpx2 = await self._clients.load("httpx2", extra="http")
        client = self._clients.get(_CLIENT, lambda: self._clients.http(httpx2))
        try:
            request = client.stream("POST", self.config.url, json=body, headers=headers)
            async with request as response:
                content = await self._content(response)
        except httpx2.RequestError as error:
            text = scrub(f"{type(error).__name__}: {error}", secret)
            raise ProviderUnavailableError(f"{self._who} is not available: {text}") from None
        if not response.is_success:
            told = json_or_text(content.decode(errors="replace"))
            failed = FailedError(told, status=response.status_code, headers=response.headers)
            raise told_error(self._who, failed, secret)
        return content

    async def _content(self, response: Any) -> bytes:
        limit = self.config.max_response_bytes
        content = bytearray()
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > limit and not response.is_success:
                break  # the start of an error tells enough
            if len(content) > limit:
                raise BadAnswerError(f"{self._who} answered with more than {limit} bytes.")
        return bytes(content)

    def _read(self, content: bytes) -> Answer:
        value = parse_json(content, who=self._who)
        if not (isinstance(value, dict) and "value" in value and value.keys() <= _WRAPPED):
            return Answer(value=value, usage=Usage(calls=1))
        told = value.get("usage") or {}
        try:
            usage = Usage.model_validate({"calls": 1, **told} if isinstance(told, dict) else told)
        except ValidationError:
            message = f"{self._who} answered with an unreadable usage: {shown(told)}"
            raise BadAnswerError(message) from None
        return Answer(value=value["value"], usage=usage)


_WRAPPED = {"value", "usage"}
