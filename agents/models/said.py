"""The turns of a model's answer as messages, for its session and for who goes on in its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from agents.conversing import arguments_of, name_of, uniform
from agents.models.provider import Exchange, ModelRequest, said_before
from agents.tools.calls import ToolResult
from agents.tools.results import LongResults
from agents.values import text_of
from celery_agents.contracts.conversation import CALLS_MAX, MESSAGES_MAX, ChatMessage, ToolUse
from celery_agents.values import mended


def said(exchanges: Iterable[Exchange]) -> tuple[ChatMessage, ...]:
    """The replies that called tools, each with the results behind it.

    What was no answer of the form that was asked for, and the complaint about it, are left out.
    """
    return tuple(uniform(m for e in exchanges if e.results for m in _messages(e)))


def conversation_of(request: ModelRequest) -> tuple[ChatMessage, ...]:
    """Everything that was said: the history, the question, and what :func:`said` tells of it."""
    before = newest(said_before(request), MESSAGES_MAX // 2)
    turns = newest(said(request.exchanges), MESSAGES_MAX - len(before))
    return tuple(uniform((*before, *turns)))


def newest(messages: tuple[ChatMessage, ...], most: int = MESSAGES_MAX) -> tuple[ChatMessage, ...]:
    """Return the last messages, ``most`` of them, without results whose calls are left out."""
    kept = messages[-most:]
    whole = (place for place, message in enumerate(kept) if message.role != "tool")
    return kept[next(whole, 0) :]


def _messages(exchange: Exchange) -> Iterator[ChatMessage]:
    text = exchange.reply.text if exchange.reply.text.strip() else ""
    for first in range(0, len(exchange.results), CALLS_MAX):
        yield from _told(text if first == 0 else "", exchange.results[first : first + CALLS_MAX])


def _told(text: str, results: Sequence[ToolResult]) -> Iterator[ChatMessage]:
    # By their places: a provider's own ids may be empty, or twice in a reply.
    calls = tuple(
        ToolUse(
            id=str(place),
            name=name_of(result.call.name),
            arguments=arguments_of(result.call.arguments),
        )
        for place, result in enumerate(results)
    )
    yield ChatMessage(role="assistant", content=text, tool_calls=calls)
    for call, result in zip(calls, results, strict=True):
        told = LongResults.closed(mended(text_of(result.value)))
        yield ChatMessage(role="tool", call_id=call.id, content=told)
