"""Findings in a text, and texts with them hidden."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.conversation import ChatMessage, Text


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A part of a text that a guard looks for: from ``start`` on, before ``end``."""

    start: int
    end: int
    kind: str


Finder = Callable[[str], Sequence[Finding]]

#: An integer with fewer digits is no number of a card or a phone.
_LONG = 10**6


def apart(findings: Iterable[Finding]) -> list[Finding]:
    """Findings in their order, none of which overlaps another; of two the longer one stays."""
    kept: list[Finding] = []
    for one in sorted(findings, key=lambda f: (f.start, -f.end)):
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
        elif one.end - one.start > kept[-1].end - kept[-1].start:
            kept[-1] = one
    return kept


def replaced(text: str, findings: Sequence[Finding], by: Callable[[str, str], str]) -> str:
    """The text with what ``by(kind, found)`` gives in place of each finding."""
    if not findings:
        return text
    parts, at = [], 0
    for one in findings:
        parts += [text[at : one.start], by(one.kind, text[one.start : one.end])]
        at = one.end
    return "".join([*parts, text[at:]])


def mapped(value: JsonValue, change: Callable[[str], str]) -> JsonValue:
    """A JSON value with each text in it changed, names of fields too.

    An integer that is long enough to be somebody's number is looked at as a text, and stays one
    where it was changed.
    """
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(name): mapped(one, change) for name, one in value.items()}
    if isinstance(value, list):
        return [mapped(one, change) for one in value]
    if type(value) is int and abs(value) >= _LONG:
        told = change(str(value))
        return value if told == str(value) else told
    return value


def message_with(message: ChatMessage, change: Callable[[str], str]) -> ChatMessage:
    """A message with each text in it changed; the bytes of images and files are not looked at."""
    if isinstance(message.content, str):
        content: Any = change(message.content)
    else:
        content = tuple(
            part.model_copy(update={"text": change(part.text)}) if isinstance(part, Text) else part
            for part in message.content
        )
    calls = tuple(
        call.model_copy(update={"arguments": mapped(call.arguments, change)})
        for call in message.tool_calls
    )
    return message.model_copy(update={"content": content, "tool_calls": calls})
