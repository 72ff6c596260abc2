"""Texts in a plain form, in which hidden and odd signs make no difference."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

#: Letters by their class that nobody sees: fillers of Hangul.
FILLERS = "\u115f\u1160\u3164\uffa0"
#: Marks that join, and choose between forms of a sign.
_SELECTORS = re.compile("[\u034f\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
#: Characters of control that are no blanks: ASCII may have these, too.
CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]")
#: Characters that are kept at hand; more of them are some text that nobody writes.
KEPT = 20_000
_WIDE = range(0xFF01, 0xFF5F)
_NARROW = 0xFEE0
_MINUS = "\u2212"


@dataclass(frozen=True, slots=True)
class Plain:
    """A text's plain form, and which character of the text each of it comes from."""

    text: str
    #: None: each from the one in its own place.
    places: list[int] | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the part of the text that a part of the plain form comes from."""
        if self.places is None:
            return start, end
        return self.places[start], self.places[end - 1] + 1

    def place(self, at: int, length: int) -> int:
        """Return where a place of the plain form is in the text, which has this length."""
        if self.places is None:
            return at
        return self.places[at] if at < len(self.places) else length


def unseen(character: str) -> bool:
    """Return whether a character has no width: between letters nobody sees it."""
    kind = unicodedata.category(character)
    if kind == "Cc":
        return not character.isspace()
    return kind == "Cf" or character in FILLERS or _SELECTORS.match(character) is not None


class _Signs(dict[str, str]):
    """One sign for each that is shown like it; none for one that is not shown."""

    def __missing__(self, character: str) -> str:
        if len(self) >= KEPT:
            self.clear()
        found = self[character] = _sign(character)
        return found


def _sign(character: str) -> str:
    if unseen(character):
        return ""
    kind = unicodedata.category(character)
    if kind == "Nd":
        return str(unicodedata.decimal(character))
    if kind == "Pd" or character == _MINUS:
        return "-"
    if ord(character) in _WIDE:
        return chr(ord(character) - _NARROW)
    return " " if kind == "Zs" else character


_SIGNS = _Signs()


def signs(text: str) -> Plain:
    """Return a text with plain digits, dashes, blanks and wide signs, without unseen ones."""
    if text.isascii() and not CONTROLS.search(text):
        return Plain(text)
    parts = [_SIGNS[character] for character in text]
    plain = "".join(parts)
    if len(plain) == len(text):  # each sign is at most one
        return Plain(plain)
    return Plain(plain, [place for place, part in enumerate(parts) if part])
