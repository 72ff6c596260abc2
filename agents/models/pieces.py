"""The pieces of a model request, of which its tokens are estimated."""

from __future__ import annotations

from collections.abc import Iterator

from agents.governance.pieces import Pieces, pieces
from agents.models.provider import Exchange, ModelRequest
from agents.values import text_of
from celery_agents.contracts.conversation import ChatMessage

#: Bytes of UTF-8 that a character has at the most, and tokens that stand around a message's words.
_BYTES, _AROUND = 4, 16


def pieces_of(request: ModelRequest) -> Pieces:
    """Count what a model reads: instructions, conversation, tools, and the form of the answer."""
    found = {**pieces("\n".join(_texts(request))), "message": _messages(request)}
    if attached := _attached(request):
        found["attachment"] = attached
    return found


def surely_within(request: ModelRequest, tokens: int) -> bool:
    """Return whether it has no more tokens in any case.

    It takes some microseconds, where counting pieces takes some for each thousand characters. Of
    images and files it says no.
    """
    most = most_within(request)
    return most is not None and most <= tokens


def most_within(request: ModelRequest) -> int | None:
    """The tokens that it has at the most: each one is a byte of a text. None with attachments."""
    if _attached(request):
        return None
    size = sum(len(t) * (1 if t.isascii() else _BYTES) for t in _texts(request))
    return size + _AROUND * (_messages(request) + len(request.tools))


def _attached(request: ModelRequest) -> int:
    return sum(len(m.attachments) for m in request.history if not isinstance(m.content, str))


def _messages(request: ModelRequest) -> int:
    said = sum(1 + (len(e.results) or e.complaint is not None) for e in request.exchanges)
    return bool(request.system) + len(request.history) + (request.user is not None) + said


def _texts(request: ModelRequest) -> Iterator[str]:
    yield request.system or ""
    for message in request.history:
        yield from _of_message(message)
    yield request.user or ""
    for exchange in request.exchanges:
        yield from _of_exchange(exchange)
    for tool in request.tools:
        yield from (tool.name, tool.description, text_of(tool.parameters))
    if request.answer_schema is not None:
        yield text_of(request.answer_schema)


def _of_message(message: ChatMessage) -> Iterator[str]:
    yield message.content if isinstance(message.content, str) else message.text
    for call in message.tool_calls:
        yield from (call.name, text_of(call.arguments))


def _of_exchange(exchange: Exchange) -> Iterator[str]:
    yield exchange.reply.text
    for call in exchange.reply.tool_calls:
        yield from (call.name, text_of(call.arguments))
    for result in exchange.results:
        yield text_of(result.value)
    yield exchange.complaint or ""
