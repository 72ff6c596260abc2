"""OpenAI, and any server that speaks its Chat Completions protocol (``base_url``)."""

from __future__ import annotations

import json
from typing import Any

from agents.backends.clients import http_client, without_environment
from agents.backends.faults import message_in, retry_after_s, scrub, status_error
from agents.backends.provider import (
    Completion,
    Exchange,
    OnText,
    Reply,
    Request,
    SdkProvider,
    Tokens,
    ToolCall,
    counted,
)
from agents.backends.schema import is_strict
from agents.backends.values import text_of
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import (
    AgentsError,
    BadAnswerError,
    ProviderRefusedError,
    RateLimitedError,
)

ENDPOINT = "https://api.openai.com/v1"


class OpenAIProvider(SdkProvider):
    """Chat completions by the ``openai`` SDK."""

    name = "openai"
    module = "openai"
    key_name = "OPENAI_API_KEY"

    def _make_client(self, sdk: Any, http: Any, secret: str) -> Any:
        base_url, query = self.config.endpoint(ENDPOINT)
        client = sdk.AsyncOpenAI(
            api_key=secret,
            base_url=base_url,
            default_query=query,
            max_retries=0,
            timeout=http.Timeout(None, connect=10.0),
            http_client=http_client(http),
        )
        about = {"organization": self.config.organization, "project": self.config.project}
        return without_environment(client, admin_api_key=None, **about)

    def _prepare(self, request: Request) -> dict[str, Any]:
        messages: list[Any] = []
        if request.system:
            messages.append({"role": "system", "content": request.system})
        messages.append({"role": "user", "content": request.user})
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
                {"type": "function", "function": tool.model_dump()} for tool in request.tools
            ]
        if request.answer_schema is not None:
            strict = is_strict(request.answer_schema)
            form = {"name": "answer", "schema": request.answer_schema, "strict": strict}
            call["response_format"] = {"type": "json_schema", "json_schema": form}
        if request.stream:
            call |= {"stream": True, "stream_options": {"include_usage": True}}
        return call

    async def _send(
        self, client: Any, call: dict[str, Any], idempotency_key: str, on_text: OnText
    ) -> Completion:
        headers = {"Idempotency-Key": idempotency_key}
        response = await client.chat.completions.create(**call, extra_headers=headers)
        if call.get("stream"):
            gathered = _Gathered()
            async for chunk in response:
                await on_text(gathered.add(chunk))
            if not gathered.begun:
                raise BadAnswerError(f"{self.who} gave a stream without choices.")
            return self._completion(
                gathered.text, gathered.calls(), gathered.refusal, gathered.stop, gathered.usage
            )
        if isinstance(response, str) or not response.choices:
            raise BadAnswerError(f"{self.who} gave an answer without choices.")
        choice = response.choices[0]
        calls = [
            (call.id, call.function.name, call.function.arguments)
            for call in choice.message.tool_calls or ()
            if call.type == "function"
        ]
        return self._completion(
            choice.message.content or "",
            calls,
            choice.message.refusal or "",
            choice.finish_reason or "stop",
            response.usage,
        )

    def _completion(
        self,
        text: str,
        calls: list[tuple[str, str, str]],
        refusal: str,
        stop: str | None,
        usage: Any,
    ) -> Completion:
        if refusal or stop == "content_filter":
            raise ProviderRefusedError(f"{self.who} refused: {refusal or 'content filter'}")
        if stop is None:
            raise self.unavailable("the answer broke off")
        reply = Reply(
            text=text,
            tool_calls=tuple(
                ToolCall(id=id_, name=name, arguments=_arguments(arguments))
                for id_, name, arguments in calls
            ),
            stop="length" if stop == "length" else "end",
            native=_native(text, calls),
        )
        return Completion(reply, _tokens(usage))

    def _sdk_errors(self, sdk: Any) -> tuple[type[Exception], ...]:
        return (sdk.OpenAIError,)

    def _translate(self, error: Any, secret: str) -> AgentsError:
        response = getattr(error, "response", None)
        if response is not None:
            text = message_in(error.body) or str(error)
            wait = retry_after_s(response.headers)
            return status_error(
                self.who, response.status_code, scrub(text, secret), retry_after_s=wait
            )
        text = scrub(str(error), secret)
        if "rate_limit" in f"{getattr(error, 'code', '')} {getattr(error, 'type', '')}":
            return RateLimitedError(f"{self.who}: {text}")  # said in the middle of a stream
        return self.unavailable(text)


class _Gathered:
    """The chunks of a stream, put together."""

    def __init__(self) -> None:
        self.begun = False
        self.text = ""
        self.refusal = ""
        self.stop: str | None = None
        self.usage: Any = None
        self._calls: dict[int, list[str]] = {}

    def add(self, chunk: Any) -> str:
        """Add one chunk; returns the text that it brought."""
        self.usage = chunk.usage or self.usage
        if not chunk.choices:
            return ""
        self.begun = True
        choice = chunk.choices[0]
        self.stop = choice.finish_reason or self.stop
        self.refusal += choice.delta.refusal or ""
        for part in choice.delta.tool_calls or ():
            call = self._calls.setdefault(part.index, ["", "", ""])
            call[0] = part.id or call[0]
            call[1] += part.function.name or ""
            call[2] += part.function.arguments or ""
        text: str = choice.delta.content or ""
        self.text += text
        return text

    def calls(self) -> list[tuple[str, str, str]]:
        return [(call[0], call[1], call[2]) for _, call in sorted(self._calls.items())]


def _arguments(text: str) -> JsonValue:
    """Arguments as JSON where they are; else the text, for the tool to complain about."""
    try:
        value: JsonValue = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return text
    return value


def _native(text: str, calls: list[tuple[str, str, str]]) -> JsonValue:
    message: dict[str, JsonValue] = {"role": "assistant", "content": text or None}
    if calls:
        message["tool_calls"] = [
            {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
            for id_, name, arguments in calls
        ]
    return message


def _exchange(exchange: Exchange) -> list[Any]:
    results = [
        {
            "role": "tool",
            "tool_call_id": result.call.id,
            "content": f"Error: {result.value}" if result.failed else text_of(result.value),
        }
        for result in exchange.results
    ]
    return [exchange.reply.native, *results]


def _tokens(usage: Any) -> Tokens | None:
    if usage is None:
        return None
    details = usage.prompt_tokens_details
    cached = details.cached_tokens if details else None
    return counted(usage.prompt_tokens, usage.completion_tokens, cached)
