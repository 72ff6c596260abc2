"""The conversation of a model's answer so far, in no provider's words: for who goes on with it."""

from __future__ import annotations

from collections.abc import Iterator

from agents.models.provider import Exchange, ModelRequest, said_before
from agents.models.said import name_of
from agents.values import text_of
from celery_agents.contracts.conversation import ChatMessage, ToolUse


def conversation_of(request: ModelRequest) -> tuple[ChatMessage, ...]:
    """Everything that was said: the history, the question, and the exchanges with their results."""
    told = (message for exchange in request.exchanges for message in _messages(exchange))
    return (*said_before(request), *told)


def _messages(exchange: Exchange) -> Iterator[ChatMessage]:
    reply = exchange.reply
    calls = tuple(
        ToolUse(id=call.id, name=name_of(call), arguments=call.arguments)
        for call in reply.tool_calls
    )
    if reply.text or calls:
        yield ChatMessage(role="assistant", content=reply.text, tool_calls=calls)
    for result in exchange.results:
        yield ChatMessage(role="tool", content=text_of(result.value), call_id=result.call.id)
    if exchange.complaint:
        yield ChatMessage(role="user", content=exchange.complaint)
