"""Answers of Anthropic's Messages protocol."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agents.models.provider import Completion, Reply, Tokens, counted
from agents.models.reading.bodies import Body
from agents.models.reading.reading import ProtocolReading
from agents.models.reading.shapes import (
    arguments_of,
    arguments_text,
    count,
    listed,
    mapping,
    text_in,
    word,
)
from agents.net.faults import FailedError
from agents.tools.calls import ToolCall
from celery_agents.errors import ProviderRefusedError

_LENGTH = frozenset({"max_tokens", "model_context_window_exceeded"})
#: Which block a piece belongs to, where no start of one was told; and where its text goes.
_PIECES = {
    "text_delta": ("text", "text"),
    "input_json_delta": ("tool_use", "partial_json"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("thinking", "signature"),
}


class AnthropicReading(ProtocolReading):
    """One answer, read body by body: a message, or the events of a stream."""

    def __init__(self, who: str) -> None:
        super().__init__(who)
        self._begun = False
        self._blocks: list[dict[str, Any]] = []
        self._at: dict[int | None, dict[str, Any]] = {}
        self._usage: dict[str, int] = {}

    def _add(self, value: dict[str, Any], body: Body) -> str:
        match word(value.get("type")) or body.event:
            case "message_start":
                return self._message(mapping(value.get("message")))
            case "content_block_start":
                return self._start(_index(value), mapping(value.get("content_block")))
            case "content_block_delta":
                return self._piece(_index(value), mapping(value.get("delta")))
            case "message_delta":
                self._end(mapping(value.get("delta")), value)
            case "message_stop":
                self._ended = True
            case kind if (kind == "error" or value.get("error")) and not self._stop:
                raise FailedError(value)
            case _ if "content" in value:
                return self._message(value)
            case _:
                self._odd = body.value
        return ""

    def completion(self) -> Completion:
        if not self._begun:
            raise self._without("content")
        if self._stop == "refusal":
            raise ProviderRefusedError(f"{self._who} refused to answer.")
        if not (self._stop or self._ended):
            raise self._broken_off()
        native = list(_sent_back(self._blocks))
        calls = [block for block in native if block["type"] == "tool_use"]
        if not all(word(block.get("name")) for block in calls):
            raise self._nameless()
        reply = Reply(
            text="".join(block["text"] for block in native if block["type"] == "text"),
            tool_calls=tuple(
                ToolCall(id=c["id"], name=c["name"], arguments=arguments_of(c["input"]))
                for c in calls
            ),
            stop="length" if self._stop in _LENGTH else "end",
            native=[_object_input(block) for block in native],
        )
        return Completion(reply, tokens_of(self._usage))

    def _message(self, message: dict[str, Any]) -> str:
        self._begun = self._begun or "content" in message
        self._end(message, message)
        content = message.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        return "".join(self._start(None, mapping(block)) for block in listed(blocks))

    def _start(self, index: int | None, block: dict[str, Any]) -> str:
        self._begun = True
        kind = word(block.get("type")) or ("tool_use" if "input" in block else "text")
        block = {k: v for k, v in block.items() if v is not None} | {"type": kind}
        self._blocks.append(block)
        self._at[index] = block
        return text_in(block)

    def _piece(self, index: int | None, delta: dict[str, Any]) -> str:
        kind, name = _PIECES.get(word(delta.get("type")), ("", ""))
        if not kind:
            return ""
        block = self._at.get(index) if index in self._at else next(reversed(self._blocks), None)
        if block is None or (index not in self._at and block["type"] != kind):
            self._start(index, {"type": kind})
            block = self._blocks[-1]
        piece = word(delta.get(name))
        block[name] = word(block.get(name)) + piece
        return piece if name == "text" else ""

    def _end(self, told: dict[str, Any], around: dict[str, Any]) -> None:
        self._stop = word(told.get("stop_reason")) or self._stop
        usage = mapping(around.get("usage") or told.get("usage"))
        for name, value in usage.items():  # counts of a stream are those of all of it so far
            if (number := count(value)) is not None:
                self._usage[name] = max(number, self._usage.get(name, 0))


def _index(event: dict[str, Any]) -> int | None:
    index = event.get("index")
    return index if isinstance(index, int) else None


def _sent_back(blocks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The content blocks as they may be sent back, without empty ones."""
    ids: set[str] = set()
    for number, block in enumerate(blocks, 1):
        pieces = block.get("partial_json")
        kept = {k: v for k, v in block.items() if k not in {"partial_json", "parsed_output"}}
        if kept["type"] == "tool_use":
            id_ = word(kept.get("id"))
            kept["id"] = id_ if id_ and id_ not in ids else f"toolu_{number}"
            kept["input"] = pieces or kept.get("input")
            ids.add(kept["id"])
        elif kept["type"] == "text":
            kept["text"] = text_in(kept.get("text"))
            if not kept["text"]:
                continue
        yield kept


def _object_input(block: dict[str, Any]) -> dict[str, Any]:
    """A tool's input has to be an object where it goes back, whatever it came as."""
    if block["type"] != "tool_use":
        return block
    arguments = arguments_of(block["input"])
    if not isinstance(arguments, dict):
        arguments = {"unreadable": arguments_text(block["input"])}
    return {**block, "input": arguments}


def tokens_of(usage: dict[str, int]) -> Tokens | None:
    """The tokens that a usage of this protocol tells."""
    read = usage.get("cache_read_input_tokens", 0)
    written = usage.get("cache_creation_input_tokens", 0)
    sent = usage.get("input_tokens")
    # Anthropic counts the cached tokens apart.
    total = None if sent is None else sent + read + written
    return counted(total, usage.get("output_tokens"), read, written)
