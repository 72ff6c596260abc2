"""Answers of OpenAI's Chat Completions protocol."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from agents.models.provider import Completion, Reply, Tokens, counted
from agents.models.reading.bodies import Body
from agents.models.reading.calls import Calls, ReadCall
from agents.models.reading.reading import ProtocolReading
from agents.models.reading.shapes import (
    arguments_of,
    count,
    first_of,
    listed,
    mapping,
    text_in,
    word,
)
from agents.net.faults import FailedError
from agents.tools.calls import ToolCall
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import ProviderRefusedError

_LENGTH = frozenset({"length", "max_tokens", "model_length"})
_BLOCKED = frozenset({"content_filter", "safety"})
_BROKEN = frozenset({"error", "abort"})


class OpenAIReading(ProtocolReading):
    """One answer, read body by body: a completion, or the chunks of a stream."""

    def __init__(self, who: str, tools: Collection[str]) -> None:
        super().__init__(who)
        self._calls = Calls(tools)
        self._begun = False
        self._text = ""
        self._refusal = ""
        self._usage: dict[str, Any] = {}

    def _add(self, value: dict[str, Any], body: Body) -> str:
        choices = listed(value.get("choices"))
        text = self._choice(mapping(choices[0])) if choices else ""
        self._usage = _usage_in(value, choices) or self._usage
        error = value.get("error") or (value if value.get("object") == "error" else None)
        if error and not self._stop:
            raise FailedError({"error": error})
        if not choices and body.value is not None:
            self._odd = body.value
        return text

    def completion(self) -> Completion:
        if not self._begun:
            raise self._without("choices")
        if self._refusal or self._stop in _BLOCKED:
            reason = self._refusal or "content filter"
            raise ProviderRefusedError(f"{self._who} refused: {reason}")
        if self._stop in _BROKEN or not (self._stop or self._ended):
            raise self._broken_off()
        calls = self._calls.found()
        if not all(call.name for call in calls):
            raise self._nameless()
        reply = Reply(
            text=self._text,
            tool_calls=tuple(
                ToolCall(id=c.id, name=c.name, arguments=arguments_of(c.arguments)) for c in calls
            ),
            stop="length" if self._stop in _LENGTH else "end",
            native=_native(self._text, calls),
        )
        return Completion(reply, tokens_of(self._usage))

    def _choice(self, choice: dict[str, Any]) -> str:
        if (error := choice.get("error")) and not self._stop:
            raise FailedError({"error": error})
        self._begun = True
        self._stop = word(choice.get("finish_reason")).lower() or self._stop
        delta, message = mapping(choice.get("delta")), mapping(choice.get("message"))
        for piece in _calls_in(delta):
            self._calls.add_piece(piece)
        if message and not self._calls:  # some end a stream with all of it once more
            for call in _calls_in(message):
                self._calls.add(call)
        if delta or self._text:
            return self._words(delta)
        return self._words(message or {"content": choice.get("text")})

    def _words(self, message: dict[str, Any]) -> str:
        content = message.get("content")
        parts = [mapping(part) for part in listed(content)] if isinstance(content, list) else []
        self._refusal += word(message.get("refusal"))
        self._refusal += "".join(word(part.get("refusal")) for part in parts)
        text = text_in(content)
        self._text += text
        return text


def _calls_in(message: dict[str, Any]) -> list[Any]:
    """The tool calls of a message or a piece of one, or the one function call of older servers."""
    function = message.get("function_call")
    return listed(message.get("tool_calls")) or ([{"function": function}] if function else [])


def _usage_in(value: dict[str, Any], choices: list[Any]) -> dict[str, Any]:
    """The tokens that a body tells: of itself, of its choice (Moonshot), apart (Groq)."""
    places = (value, *map(mapping, choices), mapping(value.get("x_groq")))
    return next((found for place in places if (found := mapping(place.get("usage")))), {})


def _native(text: str, calls: list[ReadCall]) -> JsonValue:
    """The message as it goes back: in the protocol's own form, whatever form it came in."""
    message: dict[str, JsonValue] = {"role": "assistant", "content": text or None}
    if calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments.strip() or "{}"},
            }
            for call in calls
        ]
    return message


def tokens_of(usage: dict[str, Any]) -> Tokens | None:
    """The tokens that a usage of this protocol tells."""
    details = mapping(usage.get("prompt_tokens_details") or usage.get("input_tokens_details"))
    sent = count(first_of(usage, "prompt_tokens", "input_tokens"))
    total = count(usage.get("total_tokens"))
    received = first_of(usage, "completion_tokens", "output_tokens")
    if received is None and sent is not None and total is not None:
        received = total - sent
    cached = details.get("cached_tokens")
    if cached is None:  # DeepSeek, Moonshot
        cached = first_of(usage, "prompt_cache_hit_tokens", "cached_tokens")
    return counted(sent, received, cached, details.get("cache_write_tokens"))
