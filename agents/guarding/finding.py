"""Findings in a text, and texts with them hidden."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.conversation import Attachment, ChatMessage, Text


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A part of a text that a guard looks for: from ``start`` on, before ``end``."""

    start: int
    end: int
    kind: str


Finder = Callable[[str], Sequence[Finding]]


@runtime_checkable
class Local(Protocol):
    """A finder of findings that depend on what stands round their begin, and on no more.

    Those that overlap are all found, so that none depends on another one far before it.
    """

    def __call__(self, text: str) -> Sequence[Finding]:
        """Find them in a text."""
        ...

    def open(self, text: str) -> int:
        """Return from where on what follows the text may still change what begins there."""
        ...


#: An integer with fewer digits is no number of a card or a phone, nor is one with more.
_LONG, _LONGEST = 10**6, 10**40


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Findings in their order; those that overlap have become one, of the kind of the longest."""
    kept: list[Finding] = []
    longest = 0
    for one in sorted(findings, key=lambda f: (f.start, -f.end, f.kind)):
        length = one.end - one.start
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
            longest = length
            continue
        whole = kept[-1]
        kind = one.kind if length > longest else whole.kind
        longest = max(longest, length)
        kept[-1] = Finding(whole.start, max(whole.end, one.end), kind)
    return kept


def matches(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Give the match at each place that begins one, within an earlier one as well."""
    at = 0
    while (match := pattern.search(text, at)) is not None:
        yield match
        at = match.start() + 1


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

    A whole number that is long enough to be somebody's number is looked at as a text, and stays one
    where it was changed.
    """
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        told: dict[str, JsonValue] = {}
        for name, one in value.items():
            told[_free(change(name), told)] = mapped(one, change)
        return told
    if isinstance(value, list):
        return [mapped(one, change) for one in value]
    if type(value) is int and _LONG <= abs(value) < _LONGEST:
        return _number(value, str(value), change)
    if isinstance(value, float) and value.is_integer() and _LONG <= abs(value) < _LONGEST:
        return _number(value, f"{value:.0f}", change)
    return value


def _number(value: float, written: str, change: Callable[[str], str]) -> JsonValue:
    shown = change(written)
    return value if shown == written else shown


def _named(part: Attachment, change: Callable[[str], str]) -> Attachment:
    if part.name is None:
        return part
    return part.model_copy(update={"name": change(part.name)})


def _free(name: str, taken: Container[str]) -> str:
    """Return a name for a field: of two the same may be left."""
    key, number = name, 1
    while key in taken:
        number += 1
        key = f"{name}_{number}"
    return key


def message_with(
    message: ChatMessage, change: Callable[[str], str], acts: Callable[[str], str] | None = None
) -> ChatMessage:
    """A message with each text in it changed, those of its calls by ``acts``, where that is given.

    The bytes of images and files are not looked at.
    """
    if isinstance(message.content, str):
        content: Any = change(message.content)
    else:
        content = tuple(
            part.model_copy(update={"text": change(part.text)})
            if isinstance(part, Text)
            else _named(part, change)
            for part in message.content
        )
    calls = tuple(
        call.model_copy(update={"arguments": mapped(call.arguments, acts or change)})
        for call in message.tool_calls
    )
    return message.model_copy(update={"content": content, "tool_calls": calls})
