"""Redaction of a text that comes in pieces, of which a secret may take several."""

from __future__ import annotations

from collections.abc import Callable

from celery_agents.redaction import MOST, redact

#: Characters of the end that are held back, and of a word there, which may be a secret's begin.
HELD, WORD = 64, 1_024
#: Characters that are searched together; with more, the front is let go where nothing hangs on it.
WINDOW, LONGEST = 2_048, 12_000
_BLANK = " \n\t"


def _redacted(text: str) -> str:
    return redact(text, limit=MOST)


class StreamedText:
    """Takes a text piece by piece and gives of it what may be shown already.

    Args:
        hide: makes of a text what may be shown of it. What it hides has blanks within ``HELD``
            characters alone, or none and at most ``WORD``.
    """

    def __init__(self, hide: Callable[[str], str] = _redacted) -> None:
        self._hide = hide
        self._raw = ""  # not let go yet
        self._told = 0  # characters of its redacted form that were given

    def add(self, piece: str) -> str:
        """Add a piece; return what may be shown now beyond what was given before."""
        self._raw += piece
        whole = self._hide(self._raw)
        told = self._give(whole, _safe(whole))
        if len(self._raw) > WINDOW:
            self._let_go(whole)
        return told

    def end(self) -> str:
        """Return the rest."""
        whole = self._hide(self._raw)
        told = self._give(whole, len(whole))
        self._raw, self._told = "", 0
        return told

    def _give(self, whole: str, until: int) -> str:
        told = whole[self._told : until]
        self._told = max(self._told, until)
        return told

    def _let_go(self, whole: str) -> None:
        """Drop the front as soon as both parts are hidden as they are together."""
        place = self._raw.rfind("\n", 0, len(self._raw) - WINDOW // 2)
        if place < 0:
            place = self._raw.rfind(" ", 0, len(self._raw) - WINDOW // 2)
        front = self._hide(self._raw[: place + 1])
        if place >= 0 and len(front) <= self._told:
            rest = self._hide(self._raw[place + 1 :])
            if front + rest == whole:
                self._raw, self._told = self._raw[place + 1 :], self._told - len(front)
        if len(self._raw) > LONGEST:  # one secret without an end, or no text for people
            self._raw, self._told = self._raw[-WINDOW:], WINDOW


def _safe(whole: str) -> int:
    """Return how much of the end of a text cannot become another one by what follows."""
    until = len(whole) - HELD
    if until <= 0:
        return 0
    word = max(whole.rfind(blank, max(0, until - WORD), until) for blank in _BLANK)
    return word + 1 if word >= 0 else max(0, until - WORD)
