"""Google's Gemini API.

It is spoken without Google's SDK: that refuses an answer whose JSON is not exactly as it expects,
and gives back none of its bytes, so answers that were paid would be lost.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from agents.models.provider import (
    Exchange,
    ModelRequest,
    Reading,
    SdkProvider,
    instructed,
    said_before,
    turns,
)
from agents.models.reading.google import GoogleReading
from agents.net.faults import FailedError
from agents.values import json_or_text
from celery_agents.contracts.conversation import Attachment, ChatMessage, Text


class GoogleProvider(SdkProvider):
    """generateContent of the Gemini API, version v1beta."""

    name = "google"
    module = "httpx2"
    key_name = "GEMINI_API_KEY"
    endpoint = "https://generativelanguage.googleapis.com"
    # Gemini below 3 answers 400 to a response schema beside function declarations.
    schema_with_tools = False

    def _make_client(self, sdk: Any, http: Any, secret: str) -> Any:  # noqa: ARG002 - there is none
        client = self._clients.http(http)
        client.headers["x-goog-api-key"] = secret
        return client

    def _prepare(self, request: ModelRequest) -> dict[str, Any]:
        contents = _contents(said_before(request))
        for exchange in request.exchanges:
            contents += _exchange(exchange)
        config: dict[str, Any] = {
            "temperature": request.temperature,
            "maxOutputTokens": request.max_output_tokens,
        }
        if request.answer_schema is not None:
            config["responseMimeType"] = "application/json"
            config["responseJsonSchema"] = request.answer_schema
        body: dict[str, Any] = {
            "contents": contents,
            "generationConfig": {k: v for k, v in config.items() if v is not None},
        }
        if system := instructed(request):
            body["systemInstruction"] = {"parts": [{"text": system}]}
        if request.tools:
            declarations = [
                {"name": t.name, "description": t.description, "parametersJsonSchema": t.parameters}
                for t in request.tools
            ]
            body["tools"] = [{"functionDeclarations": declarations}]
        return {"url": _url(self.config.base_url, request), "json": body}

    async def _send(
        self, client: Any, call: dict[str, Any], idempotency_key: str
    ) -> AsyncGenerator[bytes]:
        headers = {"Idempotency-Key": idempotency_key}
        async with client.stream("POST", **call, headers=headers) as response:
            if not response.is_success:
                await response.aread()
                body = json_or_text(response.text)
                raise FailedError(body, status=response.status_code, headers=response.headers)
            async for chunk in response.aiter_bytes():
                yield chunk

    def _reading(self, request: ModelRequest) -> Reading:  # noqa: ARG002 - the others'
        return GoogleReading(self.who)

    async def _close(self, client: Any) -> None:
        await client.aclose()


def _url(base_url: str | None, request: ModelRequest) -> str:
    base, _, query = (base_url or GoogleProvider.endpoint).partition("?")
    model = quote(request.model, safe="/")
    if not model.startswith(("models/", "tunedModels/")):
        model = f"models/{model}"
    act = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
    more = ("&" if request.stream else "?") + query if query else ""
    return f"{base.rstrip('/')}/v1beta/{model}:{act}{more}"


def _contents(conversation: Iterable[ChatMessage]) -> list[Any]:
    """The contents of a conversation; results of tools that follow each other are one of a user."""
    names: dict[str, str] = {}  # of the newest calls: ids may come again
    told: list[Any] = []
    for turn in turns(conversation):
        first = turn[0]
        if first.role == "tool":
            told.append({"role": "user", "parts": [_result(m, names) for m in turn]})
            continue
        names.update((call.id, call.name) for call in first.tool_calls)
        said = "model" if first.role == "assistant" else "user"
        told.append({"role": said, "parts": [*map(_part, first.parts), *_calls(first)]})
    return told


def _result(message: ChatMessage, names: Mapping[str, str]) -> dict[str, Any]:
    call_id = message.call_id or ""
    response = {"id": call_id, "name": names[call_id], "response": {"result": message.text}}
    return {"functionResponse": response}


def _calls(message: ChatMessage) -> list[Any]:
    return [
        {"functionCall": {"id": call.id, "name": call.name, "args": call.arguments or {}}}
        for call in message.tool_calls
    ]


def _part(part: Text | Attachment) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"text": part.text}
    if part.url is not None:
        return {"fileData": {"mimeType": part.media_type, "fileUri": part.url}}
    return {"inlineData": {"mimeType": part.media_type, "data": part.data}}


def _exchange(exchange: Exchange) -> list[Any]:
    results = [
        {
            "functionResponse": {
                **({"id": result.call.id} if result.call.id else {}),
                "name": result.call.name,
                "response": {"error" if result.failed else "result": result.value},
            }
        }
        for result in exchange.results
    ]
    told = [{"text": exchange.complaint}] if exchange.complaint else results
    return [exchange.reply.native, {"role": "user", "parts": told}]
