"""Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from typing import Any

from agents.models.provider import (
    Exchange,
    ModelRequest,
    Reading,
    SdkProvider,
    instructed,
    said_before,
    turns,
)
from agents.models.reading.anthropic import AnthropicReading
from agents.net.clients import without_environment
from agents.values import text_of
from celery_agents.contracts.conversation import Attachment, ChatMessage, Text
from celery_agents.errors import InvalidPayloadError

#: The API wants a limit; this one all current models take.
DEFAULT_MAX_TOKENS = 8192
#: What ends a part that is to be kept, for five minutes after each use
#: (docs.anthropic.com/en/docs/build-with-claude/prompt-caching).
_KEPT = {"cache_control": {"type": "ephemeral"}}


class AnthropicProvider(SdkProvider):
    """Messages by the ``anthropic`` SDK."""

    name = "anthropic"
    module = "anthropic"
    key_name = "ANTHROPIC_API_KEY"
    endpoint = "https://api.anthropic.com"

    def _make_client(self, sdk: Any, http: Any, secret: str) -> Any:
        client = sdk.AsyncAnthropic(**self._options(http, secret))
        return without_environment(client, auth_token=None)

    def takes(self, schema: dict[str, Any]) -> bool:
        """Return whether all objects have known fields: it closes those that have others."""
        return all(_has_fields(node) for node in _nodes(schema))

    def _prepare(self, request: ModelRequest) -> dict[str, Any]:
        messages = _messages(said_before(request))
        for exchange in request.exchanges:
            messages += _exchange(exchange)
        call: dict[str, Any] = {
            "model": request.model,
            "max_tokens": request.max_output_tokens or DEFAULT_MAX_TOKENS,
            "messages": messages,
        }
        if system := instructed(request):
            kept = [{"type": "text", "text": system, **_KEPT}]
            call["system"] = system if request.cache_key is None else kept
        if request.tools:
            call["tools"] = [
                {"name": t.name, "description": t.description, "input_schema": t.parameters}
                for t in request.tools
            ]
            if request.cache_key is not None:
                call["tools"][-1] |= _KEPT
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


def _messages(conversation: Iterable[ChatMessage]) -> list[Any]:
    """The messages of a conversation; results of tools that follow each other are one of a user."""
    return [_message(turn) for turn in turns(conversation)]


def _message(turn: Sequence[ChatMessage]) -> dict[str, Any]:
    first = turn[0]
    if first.role != "tool":
        return {"role": first.role, "content": _content(first)}
    results = [{"type": "tool_result", "tool_use_id": m.call_id, "content": m.text} for m in turn]
    return {"role": "user", "content": results}


def _content(message: ChatMessage) -> str | list[Any]:
    if not (message.attachments or message.tool_calls):
        return message.text
    calls = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments or {}}
        for call in message.tool_calls
    ]
    return [*(_part(part) for part in message.parts), *calls]


def _part(part: Text | Attachment) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if part.url is not None:
        source = {"type": "url", "url": part.url}
    else:
        source = {"type": "base64", "media_type": part.media_type, "data": part.data or ""}
    if part.kind == "image":
        return {"type": "image", "source": source}
    return {"type": "document", "source": source} | ({"title": part.name} if part.name else {})


def _nodes(part: Any) -> Iterator[dict[str, Any]]:
    """Every object within a schema."""
    if isinstance(part, dict):
        yield part
    inside = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    for one in inside:
        yield from _nodes(one)


def _has_fields(node: dict[str, Any]) -> bool:
    others = node.get("additionalProperties", not node.get("properties"))
    return node.get("type") != "object" or not others


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
        {"role": "user", "content": exchange.complaint or results},
    ]
