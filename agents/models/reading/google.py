"""Answers of Gemini's generateContent protocol."""

from __future__ import annotations

from typing import Any

from agents.models.provider import Completion, Reply, Tokens, counted
from agents.models.reading.bodies import Body
from agents.models.reading.reading import ProtocolReading
from agents.models.reading.shapes import (
    arguments_of,
    arguments_text,
    count,
    first_of,
    listed,
    mapping,
    text_in,
    word,
)
from agents.net.faults import FailedError
from agents.tools.calls import ToolCall
from celery_agents.errors import BadAnswerError, ProviderRefusedError

# CONTINUATION is a cut too: following it would make several requests of one journaled call.
_LENGTH = frozenset({"MAX_TOKENS", "CONTINUATION"})
# Ends that a new request may well avoid: the model's slips, not the content's.
_SLIPS = frozenset(
    {"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "OTHER"}
)
_UNTOLD = "FINISH_REASON_UNSPECIFIED"


class GoogleReading(ProtocolReading):
    """One answer, read body by body: a response, or the chunks of a stream."""

    def __init__(self, who: str) -> None:
        super().__init__(who)
        self._parts: list[dict[str, Any]] = []
        self._text = ""
        self._blocked = ""
        self._usage: dict[str, Any] = {}

    def _add(self, value: dict[str, Any], body: Body) -> str:
        self._usage = mapping(first_of(value, "usageMetadata", "usage_metadata")) or self._usage
        feedback = mapping(first_of(value, "promptFeedback", "prompt_feedback"))
        self._blocked = word(first_of(feedback, "blockReason", "block_reason")) or self._blocked
        candidates = listed(value.get("candidates"))
        text = self._candidate(mapping(candidates[0])) if candidates else ""
        if value.get("error") and not self._stop:
            raise FailedError(value)
        if not candidates and body.value is not None:
            self._odd = body.value
        return text

    def completion(self) -> Completion:
        self._check()
        calls = [call for part in self._parts if (call := part.get("functionCall")) is not None]
        if not all(word(call.get("name")) for call in calls):
            raise self._nameless()
        reply = Reply(
            text=self._text,
            tool_calls=tuple(
                ToolCall(id=word(c.get("id")), name=c["name"], arguments=arguments_of(c["args"]))
                for c in calls
            ),
            stop="length" if self._stop in _LENGTH else "end",
            native={"role": "model", "parts": [_sent_back(part) for part in self._parts]},
        )
        return Completion(reply, tokens_of(self._usage))

    def _check(self) -> None:
        who, stop = self._who, self._stop
        if self._blocked and not self._parts:
            raise ProviderRefusedError(f"{who} refused the prompt: {self._blocked}")
        if stop in _SLIPS:
            raise BadAnswerError(f"{who} did not finish its answer: {stop}")
        if stop and stop != "STOP" and stop not in _LENGTH:
            raise ProviderRefusedError(f"{who} refused to answer: {stop}")
        if not (stop or self._parts):
            raise self._without("candidates")
        if not (stop or self._ended):
            raise self._broken_off()

    def _candidate(self, candidate: dict[str, Any]) -> str:
        stop = word(first_of(candidate, "finishReason", "finish_reason")).upper()
        self._stop = stop if stop and stop != _UNTOLD else self._stop
        content = candidate.get("content")
        if isinstance(content, str):
            content = {"parts": [{"text": content}]}
        text = ""
        for told in listed(mapping(content).get("parts")):
            part = {"text": told} if isinstance(told, str) else mapping(told)
            text += self._part({k: v for k, v in part.items() if v is not None})
        self._text += text
        return text

    def _part(self, part: dict[str, Any]) -> str:
        """Add a part; plain text of a stream grows into one."""
        call = first_of(part, "functionCall", "function_call")
        part.pop("function_call", None)
        if isinstance(call, dict):
            part["functionCall"] = {**call, "args": call.get("args")}
        if self._parts and part.keys() == self._parts[-1].keys() == {"text"}:
            self._parts[-1]["text"] += word(part["text"])
        elif part:
            self._parts.append(part)
        return text_in(part) if "text" in part else ""


def _sent_back(part: dict[str, Any]) -> dict[str, Any]:
    """A part as it may be sent back: the arguments of a call have to be an object."""
    call = part.get("functionCall")
    if call is None:
        return part
    arguments = arguments_of(call["args"])
    if not isinstance(arguments, dict):
        arguments = {"unreadable": arguments_text(call["args"])}
    return {**part, "functionCall": {**call, "args": arguments}}


def tokens_of(usage: dict[str, Any]) -> Tokens | None:
    """The tokens that a usage of this protocol tells."""

    def told(camel: str, snake: str) -> int | None:
        return count(first_of(usage, camel, snake))

    prompt = told("promptTokenCount", "prompt_token_count")
    if prompt is None:
        return None
    # Tokens that a tool's results and the thoughts took are paid for, and counted apart.
    return counted(
        prompt + (told("toolUsePromptTokenCount", "tool_use_prompt_token_count") or 0),
        (told("candidatesTokenCount", "candidates_token_count") or 0)
        + (told("thoughtsTokenCount", "thoughts_token_count") or 0),
        told("cachedContentTokenCount", "cached_content_token_count"),
    )
