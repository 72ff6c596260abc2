"""OpenAI, and any server that speaks its Chat Completions protocol (``base_url``)."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

from agents.models.provider import Exchange, ModelRequest, Reading, SdkProvider, said_before
from agents.models.reading.openai import OpenAIReading
from agents.models.strict import strict_form
from agents.net.clients import without_environment
from agents.values import text_of
from celery_agents.contracts.conversation import Attachment, ChatMessage, Text
from celery_agents.errors import InvalidPayloadError


class OpenAIProvider(SdkProvider):
    """Chat completions by the ``openai`` SDK."""

    name = "openai"
    module = "openai"
    key_name = "OPENAI_API_KEY"
    endpoint = "https://api.openai.com/v1"

    def _make_client(self, sdk: Any, http: Any, secret: str) -> Any:
        client = sdk.AsyncOpenAI(**self._options(http, secret))
        about = {"organization": self.config.organization, "project": self.config.project}
        return without_environment(client, admin_api_key=None, **about)

    def _prepare(self, request: ModelRequest) -> dict[str, Any]:
        messages: list[Any] = []
        if request.system:
            messages.append({"role": "system", "content": request.system})
        messages += [_message(message) for message in said_before(request)]
        for exchange in request.exchanges:
            messages += _exchange(exchange)
        call: dict[str, Any] = {"model": request.model, "messages": messages}
        if request.temperature is not None:
            call["temperature"] = request.temperature
        if request.max_output_tokens is not None:
            # OpenAI's newer models take only the new name, many compatible servers the old one.
            name = "max_tokens" if self.config.base_url else "max_completion_tokens"
            call[name] = request.max_output_tokens
        if request.tools:
            call["tools"] = [
                {"type": "function", "function": tool.model_dump(exclude={"policy"})}
                for tool in request.tools
            ]
        if request.answer_schema is not None:
            strict = strict_form(request.answer_schema)
            schema = request.answer_schema if strict is None else strict
            form = {"name": "answer", "schema": schema, "strict": strict is not None}
            call["response_format"] = {"type": "json_schema", "json_schema": form}
        if request.cache_key is not None:
            # Requests of one key meet one machine (platform.openai.com/docs/guides/prompt-caching).
            call["prompt_cache_key"] = request.cache_key
        if request.stream:
            call |= {"stream": True, "stream_options": {"include_usage": True}}
        return call

    async def _send(
        self, client: Any, call: dict[str, Any], idempotency_key: str
    ) -> AsyncGenerator[bytes]:
        headers = {"Idempotency-Key": idempotency_key}
        sent = client.chat.completions.with_streaming_response.create(**call, extra_headers=headers)
        async with sent as response:
            async for chunk in response.iter_bytes():
                yield chunk

    def _reading(self, request: ModelRequest) -> Reading:
        return OpenAIReading(self.who, {tool.name for tool in request.tools})

    def _sdk_errors(self, sdk: Any) -> tuple[type[Exception], ...]:
        return (sdk.OpenAIError,)


def _message(message: ChatMessage) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.call_id, "content": message.text}
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments or {})},
        }
        for call in message.tool_calls
    ]
    if calls:
        return {"role": "assistant", "content": message.text or None, "tool_calls": calls}
    if not message.attachments:
        return {"role": message.role, "content": message.text}
    return {"role": message.role, "content": [_part(part) for part in message.parts]}


def _part(part: Text | Attachment) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if part.kind == "image":
        return {"type": "image_url", "image_url": {"url": part.url or _inline(part)}}
    if part.url is not None:
        raise InvalidPayloadError("OpenAI takes files as data, images alone by their url.")
    return {
        "type": "file",
        "file": {"filename": part.name or "file", "file_data": _inline(part)},
    }


def _inline(part: Attachment) -> str:
    return f"data:{part.media_type};base64,{part.data}"


def _exchange(exchange: Exchange) -> list[Any]:
    results = [
        {
            "role": "tool",
            "tool_call_id": result.call.id,
            "content": f"Error: {result.value}" if result.failed else text_of(result.value),
        }
        for result in exchange.results
    ]
    complaint = [{"role": "user", "content": exchange.complaint}] if exchange.complaint else []
    return [exchange.reply.native, *results, *complaint]
