"""Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from agents.models.provider import Exchange, ModelRequest, Reading, SdkProvider
from agents.models.reading.anthropic import AnthropicReading
from agents.net.clients import without_environment
from agents.values import text_of
from celery_agents.errors import InvalidPayloadError

#: The API wants a limit; this one all current models take.
DEFAULT_MAX_TOKENS = 8192


class AnthropicProvider(SdkProvider):
    """Messages by the ``anthropic`` SDK."""

    name = "anthropic"
    module = "anthropic"
    key_name = "ANTHROPIC_API_KEY"
    endpoint = "https://api.anthropic.com"

    def _make_client(self, sdk: Any, http: Any, secret: str) -> Any:
        client = sdk.AsyncAnthropic(**self._options(http, secret))
        return without_environment(client, auth_token=None)

    def _prepare(self, request: ModelRequest) -> dict[str, Any]:
        messages: list[Any] = [{"role": "user", "content": request.user}]
        for exchange in request.exchanges:
            messages += _exchange(exchange)
        call: dict[str, Any] = {
            "model": request.model,
            "max_tokens": request.max_output_tokens or DEFAULT_MAX_TOKENS,
            "messages": messages,
        }
        if request.system:
            call["system"] = request.system
        if request.tools:
            call["tools"] = [
                {"name": t.name, "description": t.description, "input_schema": t.parameters}
                for t in request.tools
            ]
        if request.answer_schema is not None:
            call["output_config"] = {
                "format": {"type": "json_schema", "schema": _schema(request.answer_schema)}
            }
        if request.stream:
            call["stream"] = True
        return call

    async def _send(
        self, client: Any, call: dict[str, Any], idempotency_key: str
    ) -> AsyncGenerator[bytes]:
        headers = {"Idempotency-Key": idempotency_key}
        sent = client.messages.with_streaming_response.create(**call, extra_headers=headers)
        async with sent as response:
            async for chunk in response.iter_bytes():
                yield chunk

    def _reading(self, request: ModelRequest) -> Reading:  # noqa: ARG002 - the others'
        return AnthropicReading(self.who)

    def _sdk_errors(self, sdk: Any) -> tuple[type[Exception], ...]:
        return (sdk.AnthropicError,)


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with only the keywords that the API takes; others go into descriptions."""
    import anthropic

    try:
        return anthropic.transform_schema(schema)
    except (ValueError, AssertionError) as error:
        message = f"The answer schema does not suit Anthropic's structured output: {error}"
        raise InvalidPayloadError(message) from None


def _exchange(exchange: Exchange) -> list[Any]:
    results = [
        {
            "type": "tool_result",
            "tool_use_id": result.call.id,
            "content": text_of(result.value),
            "is_error": result.failed,
        }
        for result in exchange.results
    ]
    return [
        {"role": "assistant", "content": exchange.reply.native},
        {"role": "user", "content": results},
    ]
