"""Anthropic's Messages API."""

from __future__ import annotations

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
from agents.backends.values import text_of
from celery_agents.errors import (
    AgentsError,
    BadAnswerError,
    InvalidPayloadError,
    ProviderRefusedError,
)

ENDPOINT = "https://api.anthropic.com"
#: The API wants a limit; this one all current models take.
DEFAULT_MAX_TOKENS = 8192

# What an error event in the middle of a stream (HTTP 200) would have been as a status.
# Source: https://docs.anthropic.com/en/api/errors
_STATUS_OF = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class AnthropicProvider(SdkProvider):
    """Messages by the ``anthropic`` SDK."""

    name = "anthropic"
    module = "anthropic"
    key_name = "ANTHROPIC_API_KEY"

    def _make_client(self, sdk: Any, http: Any, secret: str) -> Any:
        base_url, query = self.config.endpoint(ENDPOINT)
        client = sdk.AsyncAnthropic(
            api_key=secret,
            base_url=base_url,
            default_query=query,
            max_retries=0,
            timeout=http.Timeout(None, connect=10.0),
            http_client=http_client(http),
        )
        return without_environment(client, auth_token=None)

    def _prepare(self, request: Request) -> dict[str, Any]:
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
        self, client: Any, call: dict[str, Any], idempotency_key: str, on_text: OnText
    ) -> Completion:
        headers = {"Idempotency-Key": idempotency_key}
        if call.pop("stream", False):
            async with client.messages.stream(**call, extra_headers=headers) as stream:
                async for text in stream.text_stream:
                    await on_text(text)
                message = await stream.get_final_message()
            if message.stop_reason is None:
                raise self.unavailable("the answer broke off")
        else:
            message = await client.messages.create(**call, extra_headers=headers)
        if isinstance(message, str) or not isinstance(message.content, list):
            raise BadAnswerError(f"{self.who} gave an answer without content.")
        if message.stop_reason == "refusal":
            raise ProviderRefusedError(f"{self.who} refused to answer.")
        reply = Reply(
            text="".join(block.text for block in message.content if block.type == "text"),
            tool_calls=tuple(
                ToolCall(id=block.id, name=block.name, arguments=block.input)
                for block in message.content
                if block.type == "tool_use"
            ),
            stop="length" if message.stop_reason == "max_tokens" else "end",
            native=[_native(block) for block in message.content],
        )
        return Completion(reply, _tokens(message.usage))

    def _sdk_errors(self, sdk: Any) -> tuple[type[Exception], ...]:
        return (sdk.AnthropicError,)

    def _translate(self, error: Any, secret: str) -> AgentsError:
        response = getattr(error, "response", None)
        if response is None:
            return self.unavailable(scrub(str(error), secret))
        status = response.status_code
        if response.is_success and isinstance(error.body, dict):
            inner = error.body.get("error")
            kind = inner.get("type") if isinstance(inner, dict) else None
            status = _STATUS_OF.get(str(kind), 500)
        text = scrub(message_in(error.body) or str(error), secret)
        return status_error(self.who, status, text, retry_after_s=retry_after_s(response.headers))


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with only the keywords that the API takes; others go into descriptions."""
    import anthropic

    try:
        return anthropic.transform_schema(schema)
    except (ValueError, AssertionError) as error:
        message = f"The answer schema does not suit Anthropic's structured output: {error}"
        raise InvalidPayloadError(message) from None


def _native(block: Any) -> Any:
    """A content block as it may be sent back; ``parsed_output`` is the SDK's own addition."""
    return block.model_dump(mode="json", exclude_none=True, exclude={"parsed_output"})


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


def _tokens(usage: Any) -> Tokens | None:
    if usage is None or usage.input_tokens is None:
        return None
    read = usage.cache_read_input_tokens or 0
    written = usage.cache_creation_input_tokens or 0
    # Anthropic counts the cached tokens apart.
    return counted(usage.input_tokens + read + written, usage.output_tokens, read, written)
