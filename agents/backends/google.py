"""Google's Gemini API."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from agents.backends.clients import http_client
from agents.backends.faults import message_in, retry_after_s, scrub, status_error
from agents.backends.provider import (
    Completion,
    OnText,
    Reply,
    Request,
    SdkProvider,
    Tokens,
    ToolCall,
    counted,
)
from celery_agents.errors import (
    AgentsError,
    BadAnswerError,
    ConfigurationError,
    ProviderRefusedError,
)

ENDPOINT = "https://generativelanguage.googleapis.com"
# Ends at which an answer is all there. CONTINUATION is a cut too: following it would make
# several requests of one journaled call.
_STOPS = {"STOP": "end", "MAX_TOKENS": "length", "CONTINUATION": "length"}
# Ends that a new request may well avoid: the model's slips, not the content's.
_SLIPS = frozenset(
    {"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "OTHER"}
)


class GoogleProvider(SdkProvider):
    """generateContent by the ``google-genai`` SDK."""

    name = "google"
    module = "google.genai"
    key_name = "GEMINI_API_KEY"
    # Gemini below 3 answers 400 to a response schema beside function declarations.
    schema_with_tools = False

    def _make_client(self, sdk: Any, http: Any, secret: str) -> Any:
        # The client of our own also keeps the SDK from aiohttp, whose connection errors it
        # retries by itself after up to ten seconds. No retry_options: no other retries.
        base_url, query = self.config.endpoint(ENDPOINT)
        if query:
            raise ConfigurationError(f"{self.who}: base_url takes no query for this provider.")
        own = http_client(http)
        options = {"base_url": base_url, "api_version": "v1beta", "httpx_async_client": own}
        return _Client(sdk.Client(api_key=secret, vertexai=False, http_options=options), own)

    def _prepare(self, request: Request) -> dict[str, Any]:
        contents: list[Any] = [{"role": "user", "parts": [{"text": request.user}]}]
        for exchange in request.exchanges:
            contents.append(exchange.reply.native)
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
            contents.append({"role": "user", "parts": results})
        config: dict[str, Any] = {
            "automatic_function_calling": {"disable": True},
            "automatic_continuation": False,
            "system_instruction": request.system,
            "temperature": request.temperature,
            "max_output_tokens": request.max_output_tokens,
        }
        if request.tools:
            declarations = [
                {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters_json_schema": tool.parameters,
                }
                for tool in request.tools
            ]
            config["tools"] = [{"function_declarations": declarations}]
        if request.answer_schema is not None:
            config["response_mime_type"] = "application/json"
            config["response_json_schema"] = request.answer_schema
        return {"contents": contents, "config": config, "stream": request.stream}

    async def _send(
        self, client: Any, call: dict[str, Any], idempotency_key: str, on_text: OnText
    ) -> Completion:
        from google.genai import types

        # From JSON text: only there does the SDK read signatures (bytes) as base64.
        contents = [types.Content.model_validate_json(json.dumps(c)) for c in call["contents"]]
        headers = {"Idempotency-Key": idempotency_key}
        arguments = {
            "model": self.config.model,
            "contents": contents,
            "config": {**call["config"], "http_options": {"headers": headers}},
        }
        gathered = _Gathered()
        if call["stream"]:
            async for chunk in await client.sdk.aio.models.generate_content_stream(**arguments):
                await on_text(gathered.add(chunk))
        else:
            gathered.add(await client.sdk.aio.models.generate_content(**arguments))
        return self._completion(gathered)

    def _completion(self, gathered: _Gathered) -> Completion:
        if gathered.blocked:
            raise ProviderRefusedError(f"{self.who} refused the prompt: {gathered.blocked}")
        if gathered.stop is None:
            if gathered.parts:
                raise self.unavailable("the answer broke off")
            raise BadAnswerError(f"{self.who} gave an answer without candidates.")
        if gathered.stop in _SLIPS:
            raise BadAnswerError(f"{self.who} did not finish its answer: {gathered.stop}")
        if gathered.stop not in _STOPS:
            raise ProviderRefusedError(f"{self.who} refused to answer: {gathered.stop}")
        calls = [part["function_call"] for part in gathered.parts if "function_call" in part]
        reply = Reply(
            text=gathered.text,
            tool_calls=tuple(
                ToolCall(id=c.get("id", ""), name=c["name"], arguments=c.get("args", {}))
                for c in calls
            ),
            stop="length" if _STOPS[gathered.stop] == "length" else "end",
            native={"role": "model", "parts": gathered.parts},
        )
        return Completion(reply, _tokens(gathered.usage))

    def _sdk_errors(self, sdk: Any) -> tuple[type[Exception], ...]:
        return (sdk.errors.APIError,)

    def _translate(self, error: Any, secret: str) -> AgentsError:
        wait = None if error.response is None else retry_after_s(error.response.headers)
        if wait is None:
            wait = _retry_info_s(error.details)
        text = scrub(message_in(error.details), secret)
        return status_error(self.who, int(error.code or 500), text, retry_after_s=wait)

    async def _close(self, client: Any) -> None:
        await client.sdk.aio.aclose()
        client.sdk.close()
        await client.http.aclose()


class _Client(NamedTuple):
    """The SDK's client, and the HTTP client below it, which the SDK leaves to us to close."""

    sdk: Any
    http: Any


class _Gathered:
    """The parts of a response, or of the chunks of a stream, put together."""

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.text = ""
        self.stop: str | None = None
        self.blocked: str | None = None
        self.usage: Any = None

    def add(self, response: Any) -> str:
        """Add one response; returns the text that it brought."""
        self.usage = response.usage_metadata or self.usage
        feedback = response.prompt_feedback
        if feedback is not None and feedback.block_reason is not None:
            self.blocked = str(feedback.block_reason.value)
        if not response.candidates:
            return ""
        candidate = response.candidates[0]
        if candidate.finish_reason is not None:
            self.stop = str(candidate.finish_reason.value)
        parts = (candidate.content.parts if candidate.content else None) or []
        text = "".join(part.text for part in parts if part.text and not part.thought)
        self.text += text
        for part in parts:
            self._append(part.model_dump(mode="json", exclude_none=True))
        return text

    def _append(self, part: Any) -> None:
        """Add a part; plain text of a stream grows into one."""
        if self.parts and part.keys() == self.parts[-1].keys() == {"text"}:
            self.parts[-1]["text"] += part["text"]
        else:
            self.parts.append(part)


def _retry_info_s(body: Any) -> float | None:
    """Seconds of google.rpc.RetryInfo, Google's own form of Retry-After, in an error's body."""
    error = body.get("error") if isinstance(body, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str):
            return retry_after_s({"retry-after": delay.removesuffix("s")})
    return None


def _tokens(usage: Any) -> Tokens | None:
    if usage is None or usage.prompt_token_count is None:
        return None
    # Tokens that a tool's results and the thoughts took are paid for, and counted apart.
    return counted(
        usage.prompt_token_count + (usage.tool_use_prompt_token_count or 0),
        (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
        usage.cached_content_token_count,
    )
