"""Limits that providers tell of in the headers of their answers.

OpenAI and many others: ``x-ratelimit-{limit,remaining}-{requests,tokens}``. Anthropic:
``anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining}``. A number
that is none, or not above 0 (Azure's -1 and 0 for "not told"), says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

#: What is counted, by the word in the header.
_WHATS = {
    "requests": "requests",
    "tokens": "tokens",
    "input-tokens": "input",
    "output-tokens": "output",
}
_FORMS = ("x-ratelimit-{number}-{what}", "anthropic-ratelimit-{what}-{number}")
#: A number above it is no limit.
_MOST = 1e12


@dataclass(slots=True)
class Told:
    """A provider's words on its limits: units a minute, and how many of them are left."""

    limits: dict[str, float] = field(default_factory=dict)
    remaining: dict[str, float] = field(default_factory=dict)


def told_in(headers: Mapping[str, str]) -> Told:
    """Read the limits in the headers of an answer."""
    told = Told()
    for word, what in _WHATS.items():
        for form in _FORMS:
            limit = _number(headers.get(form.format(number="limit", what=word)))
            if limit:  # without one nobody knows of what something remains
                told.limits[what] = limit
                left = _number(headers.get(form.format(number="remaining", what=word)))
                if left is not None:
                    told.remaining[what] = left
    return told


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "nan")
    except ValueError:
        return None
    return number if math.isfinite(number) and 0 <= number <= _MOST else None


_listening: ContextVar[list[Told] | None] = ContextVar("told_limits", default=None)


@contextmanager
def listening() -> Iterator[list[Told]]:
    """Collect what providers tell while the block runs."""
    heard: list[Told] = []
    token = _listening.set(heard)
    try:
        yield heard
    finally:
        _listening.reset(token)


async def listen(response: Any) -> None:
    """Note the limits in a response's headers, where somebody listens: a hook of httpx2."""
    heard = _listening.get()
    if heard is not None:
        heard.append(told_in(response.headers))
