"""Redaction of a text that comes in pieces, of which a secret may take several."""

from __future__ import annotations

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

    What redaction hides has blanks within ``HELD`` characters alone, or none and at most ``WORD``.
    """

    def __init__(self) -> None:
        self._raw = ""  # not let go yet
        self._told = 0  # characters of its redacted form that were given

    def add(self, piece: str) -> str:
        """Add a piece; return what may be shown now beyond what was given before."""
        return "".join(self._add(piece[at : at + WINDOW]) for at in range(0, len(piece), WINDOW))

    def _add(self, piece: str) -> str:
        self._raw += piece
        whole = _redacted(self._raw)
        told = self._give(whole, _safe(whole))
        if len(self._raw) > WINDOW:
            self._let_go(whole)
        return told

    def end(self) -> str:
        """Return the rest."""
        whole = _redacted(self._raw)
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
        front = _redacted(self._raw[: place + 1])
        if place >= 0 and len(front) <= self._told:
            rest = _redacted(self._raw[place + 1 :])
            if front + rest == whole:
                self._raw, self._told = self._raw[place + 1 :], self._told - len(front)
        if len(self._raw) > LONGEST:  # one secret without an end, or a text without blanks
            untold = len(whole) - self._told
            self._raw = self._raw[-WINDOW:]
            self._told = max(0, len(_redacted(self._raw)) - untold)


def _safe(whole: str) -> int:
    """Return how much of the end of a text cannot become another one by what follows."""
    until = len(whole) - HELD
    if until <= 0:
        return 0
    word = max(whole.rfind(blank, max(0, until - WORD), until) for blank in _BLANK)
    return word + 1 if word >= 0 else max(0, until - WORD)
