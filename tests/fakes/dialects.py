"""The three protocols of the fake model server, as far as the tests need them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tests.fakes.model_server import Does

#: A stream that is to break off does so after the event that holds this.
CUT_MARK = b'"piece'


class Dialect(Protocol):
    """One provider's protocol."""

    provider: str

    def wants_stream(self, path: str, body: Any) -> bool: ...
    def whole(self, does: Does) -> Any: ...
    def events(self, does: Does) -> Iterator[bytes]: ...


def dialect_of(path: str) -> Dialect | None:
    if path.endswith("/chat/completions"):
        return OpenAI()
    if path.endswith("/v1/messages"):
        return Anthropic()
    return Gemini() if "enerateContent" in path else None


def sensible_text(body: Any) -> str:
    """The first value that fits the schema which the request asks for; else a fixed text."""
    schema = _schema_in(body)
    return "A sensible answer." if schema is None else json.dumps(_example(schema))


def _schema_in(body: Any) -> Any:
    for path in (
        ("response_format", "json_schema", "schema"),
        ("output_config", "format", "schema"),
        ("generationConfig", "responseJsonSchema"),
    ):
        node = body
        for part in path:
            node = node.get(part) if isinstance(node, dict) else None
        if node is not None:
            return node
    return None


def _example(schema: Any) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        return {name: _example(part) for name, part in schema.get("properties", {}).items()}
    simple = {"array": [], "number": 0.5, "integer": 1, "boolean": True}
    return simple.get(schema.get("type"), "because")


def _text(does: Does) -> str:
    return json.dumps(does.json) if does.json is not None else does.text or ""


def _pieces(does: Does) -> list[str]:
    """The text in parts; of a stream to be cut, the first part is marked."""
    text = ("piece of " if does.cut else "") + _text(does)
    length = max(-(-len(text) // does.pieces), 9)
    return [text[at : at + length] for at in range(0, len(text), length)]


def _data(value: Any, event: str | None = None) -> bytes:
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {json.dumps(value)}\n\n".encode()


class OpenAI:
    """Chat Completions."""

    provider = "openai"

    def wants_stream(self, path: str, body: Any) -> bool:
        return bool(body.get("stream"))

    def whole(self, does: Does) -> Any:
        message: dict[str, Any] = {"role": "assistant", "content": _text(does) or None}
        if does.stop == "refusal":
            message |= {"content": None, "refusal": "I will not."}
        if does.calls:
            message["tool_calls"] = [
                self._call(f"{does.turn}{number}", name, json.dumps(asked))
                for number, (name, asked) in enumerate(does.calls, 1)
            ]
        choice = {"index": 0, "message": message, "finish_reason": self._stop(does)}
        return self._head("chat.completion") | {"choices": [choice]} | self._usage(does)

    def events(self, does: Does) -> Iterator[bytes]:
        yield self._chunk({"role": "assistant", "content": ""})
        for piece in _pieces(does):
            yield self._chunk({"content": piece})
        if does.stop == "refusal":
            yield self._chunk({"refusal": "I will not."})
        for place, (name, asked) in enumerate(does.calls):
            arguments = json.dumps(asked)
            head = self._call(f"{does.turn}{place + 1}", name, "") | {"index": place}
            yield self._chunk({"tool_calls": [head]})
            for part in (arguments[:5], arguments[5:]):
                more = {"index": place, "function": {"arguments": part}}
                yield self._chunk({"tool_calls": [more]})
        yield self._chunk({}, self._stop(does))
        yield _data(self._head("chat.completion.chunk") | {"choices": []} | self._usage(does))
        yield b"data: [DONE]\n\n"

    def _chunk(self, delta: Any, stop: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": stop}
        return _data(self._head("chat.completion.chunk") | {"choices": [choice]})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "fake"}

    def _call(self, number: str, name: str, arguments: str) -> dict[str, Any]:
        function = {"name": name, "arguments": arguments}
        return {"id": f"call_{number}", "type": "function", "function": function}

    def _stop(self, does: Does) -> str:
        return "tool_calls" if does.calls else {"length": "length"}.get(does.stop, "stop")

    def _usage(self, does: Does) -> dict[str, Any]:
        if not does.usage:
            return {}
        usage = {
            "prompt_tokens": does.input_tokens,
            "completion_tokens": does.output_tokens,
            "total_tokens": does.input_tokens + does.output_tokens,
            "prompt_tokens_details": {"cached_tokens": does.cached_tokens},
        }
        return {"usage": usage}


class Anthropic:
    """Messages. Its `input_tokens` do not count the cached ones."""

    provider = "anthropic"

    def wants_stream(self, path: str, body: Any) -> bool:
        return bool(body.get("stream"))

    def whole(self, does: Does) -> Any:
        content: list[Any] = []
        if text := _text(does):
            content.append({"type": "text", "text": text})
        content += [
            self._call(f"{does.turn}{n}", name, args)
            for n, (name, args) in enumerate(does.calls, 1)
        ]
        return self._message(does) | {"content": content, "stop_reason": self._stop(does)}

    def events(self, does: Does) -> Iterator[bytes]:
        yield self._event("message_start", message=self._message(does))
        index = 0
        if pieces := _pieces(does):
            block: dict[str, Any] = {"type": "text", "text": ""}
            yield self._event("content_block_start", index=0, content_block=block)
            for piece in pieces:
                yield self._delta(0, {"type": "text_delta", "text": piece})
            yield self._event("content_block_stop", index=0)
            index = 1
        for number, (name, asked) in enumerate(does.calls, 1):
            block = self._call(f"{does.turn}{number}", name, {})
            yield self._event("content_block_start", index=index, content_block=block)
            arguments = json.dumps(asked)
            for part in (arguments[:5], arguments[5:]):
                yield self._delta(index, {"type": "input_json_delta", "partial_json": part})
            yield self._event("content_block_stop", index=index)
            index += 1
        delta = {"stop_reason": self._stop(does), "stop_sequence": None}
        usage = {"output_tokens": does.output_tokens}
        yield self._event("message_delta", delta=delta, usage=usage)
        yield self._event("message_stop")

    def _event(self, kind: str, **fields: Any) -> bytes:
        return _data({"type": kind, **fields}, kind)

    def _delta(self, index: int, delta: Any) -> bytes:
        return self._event("content_block_delta", index=index, delta=delta)

    def _message(self, does: Does) -> dict[str, Any]:
        usage = {
            "input_tokens": does.input_tokens - does.cached_tokens,
            "cache_read_input_tokens": does.cached_tokens,
            "cache_creation_input_tokens": 0,
            "output_tokens": does.output_tokens,
        }
        head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "fake"}
        return head | {
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage if does.usage else None,
        }

    def _call(self, number: str, name: str, arguments: Any) -> dict[str, Any]:
        return {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": arguments}

    def _stop(self, does: Does) -> str:
        stops = {"length": "max_tokens", "refusal": "refusal"}
        return "tool_use" if does.calls else stops.get(does.stop, "end_turn")


class Gemini:
    """generateContent and streamGenerateContent."""

    provider = "google"

    def wants_stream(self, path: str, body: Any) -> bool:
        return ":streamGenerateContent" in path

    def whole(self, does: Does) -> Any:
        if does.stop == "refusal":
            return {"promptFeedback": {"blockReason": "SAFETY"}} | self._usage(does)
        parts: list[Any] = [{"text": _text(does)}] if _text(does) else []
        return self._response(parts + self._calls(does), self._stop(does)) | self._usage(does)

    def events(self, does: Does) -> Iterator[bytes]:
        if does.stop == "refusal":
            yield _data(self.whole(does))
            return
        for piece in _pieces(does):
            yield _data(self._response([{"text": piece}], None))
        yield _data(self._response(self._calls(does), self._stop(does)) | self._usage(does))

    def _response(self, parts: list[Any], stop: str | None) -> dict[str, Any]:
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0}
        if stop:
            candidate["finishReason"] = stop
        return {"candidates": [candidate], "modelVersion": "fake"}

    def _calls(self, does: Does) -> list[Any]:
        calls = [{"name": name, "args": args} for name, args in does.calls]
        return [{"functionCall": call, "thoughtSignature": "c2lnbmF0dXJl"} for call in calls]

    def _stop(self, does: Does) -> str:
        return {"length": "MAX_TOKENS"}.get(does.stop, "STOP")

    def _usage(self, does: Does) -> dict[str, Any]:
        if not does.usage:
            return {}
        usage = {
            "promptTokenCount": does.input_tokens,
            "candidatesTokenCount": does.output_tokens - 5,
            "thoughtsTokenCount": 5,
            "cachedContentTokenCount": does.cached_tokens,
            "totalTokenCount": does.input_tokens + does.output_tokens,
        }
        return {"usageMetadata": usage}
