"""Sessions, decided: what an exchange is, and how much of a session an agent is told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from agents.conversing import uniform
from agents.governance.pieces import pieces
from agents.governance.sizes import UNLEARNED, Sizes
from agents.values import text_of
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.conversation import ChatMessage, Text
from celery_agents.values import mended


def exchange_of(
    asked: Sequence[ChatMessage],
    question: JsonValue,
    turns: Sequence[ChatMessage],
    answer: JsonValue,
) -> tuple[ChatMessage, ...]:
    """Return the messages of an exchange: a question, tools with their results, and the answer.

    Instructions are no part of it: they are of the call, and would be repeated by each.
    """
    said = [m for m in asked if m.role != "system"]
    if question is not None or not said:
        said.append(_message("user", question))
    return (*said, *turns, _message("assistant", answer))


def _message(role: str, value: JsonValue) -> ChatMessage:
    words = mended(text_of(value))
    if not words.strip():  # which some providers refuse
        words = json.dumps(words)
    return ChatMessage.model_validate({"role": role, "content": words})


def recalled(exchanges: Iterable[tuple[int, Sequence[ChatMessage]]]) -> tuple[ChatMessage, ...]:
    """Return the conversation of exchanges, each with its place in the session.

    Calls get ids that are different in all of it, and the same whichever exchanges are told.
    """
    return tuple(m for place, said in exchanges for m in uniform(said, f"call_{place}_"))


def tokens_of(messages: Iterable[ChatMessage], sizes: Sizes = UNLEARNED) -> int:
    """Estimate what a model reads of messages; never 0 of one.

    Without ``sizes`` nothing that an agent has learned is part of it: agents share a session.
    """
    return sum(_tokens(message, sizes) for message in messages)


def _tokens(message: ChatMessage, sizes: Sizes) -> int:
    said = [part.text for part in message.parts if isinstance(part, Text)]
    said += [f"{call.name}{text_of(call.arguments)}" for call in message.tool_calls]
    around = {"message": 1, "attachment": len(message.attachments)}
    return sizes.likely({**pieces(" ".join(said)), **around})


def fitting(newest_first: Iterable[int], budget: int) -> int:
    """Return how many of the newest exchanges fit into a window, given the tokens of each.

    Whole ones, without a gap: the first one that does not fit is the last one that is looked at.
    """
    number = 0
    for tokens in newest_first:
        budget -= tokens
        if budget < 0:
            break
        number += 1
    return number
