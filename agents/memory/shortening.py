"""Exchanges made shorter, so that any provider still takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from celery_agents.contracts.conversation import ChatMessage

#: Estimates the tokens of messages.
Count = Callable[[Sequence[ChatMessage]], int]

#: What stands in place of what was left out.
CLEARED = "[The result was left out.]"
_GAP = "\n[… a part is left out …]\n"
_NOTHING = "…"


def results(exchange: Sequence[ChatMessage]) -> int:
    """The number of results of tools in an exchange that say something."""
    return sum(m.role == "tool" and m.content != CLEARED for m in exchange)


def cleared(exchange: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
    """Return an exchange without results of tools; each call still has one, which says so."""
    return tuple(
        m.model_copy(update={"content": CLEARED}) if m.role == "tool" else m for m in exchange
    )


def shortened(
    exchange: Sequence[ChatMessage], budget: int, count: Count
) -> tuple[ChatMessage, ...]:
    """Return what fits of an exchange that is too long.

    Without results of tools if that is enough; else the last question and the answer alone, each
    without what lies in its middle.
    """
    without = cleared(exchange)
    if count(without) <= budget:
        return without
    asked = [m for m in exchange if m.role == "user"][-1:]
    said = [m for m in exchange if m.role == "assistant" and m.text.strip()][-1:]
    rest = (asked + said) or [ChatMessage(role="user", content=_NOTHING)]
    return tuple(_within(message, budget // len(rest), count) for message in rest)


def _within(message: ChatMessage, budget: int, count: Count) -> ChatMessage:
    named = [f"[{a.kind} {a.name or a.media_type} is left out]" for a in message.attachments]
    text = "\n".join([*named, message.text])
    return ChatMessage(
        role=message.role,
        content=cut(text, lambda t: count((ChatMessage(role="user", content=t),)) <= budget),
    )


def cut(text: str, fits: Callable[[str], bool]) -> str:
    """Return a text that fits: its begin and its end, as much of them as there is room for.

    ``fits`` is true of a text if it is of longer ones. Not even the mark of the gap may fit: then
    it is a sign alone.
    """
    if text.strip() and fits(text):
        return text
    least, most = 0, len(text)
    while least < most:
        middle = (least + most + 1) // 2
        if fits(_part(text, middle)):
            least = middle
        else:
            most = middle - 1
    part = _part(text, least)
    return part if text.strip() and fits(part) else _NOTHING


def _part(text: str, characters: int) -> str:
    head = characters * 2 // 3
    return f"{text[:head]}{_GAP}{text[len(text) - (characters - head) :]}"
