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
#: Escapes of JSON: of a pair of surrogates, of a character, of one that has a letter.
_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\[^u]",
    re.DOTALL,
)
_BROKEN = re.compile(r"(?:\\u[dD][89abAB][0-9a-fA-F]{2})?(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z")
_SHORT = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_WIDE = range(0xFF01, 0xFF5F)
_NARROW = 0xFEE0
_MINUS = "\u2212"


@dataclass(frozen=True, slots=True)
class Plain:
    """A text's plain form, and which character of the text each of it comes from."""

    text: str
    #: None: each from the one in its own place.
    places: list[int] | None = None
    #: The places behind those; None: each comes from one character.
    ends: list[int] | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the part of the text that a part of the plain form comes from."""
        if self.places is None:
            return start, end
        return self.places[start], self.places[end - 1] + 1 if self.ends is None else self.ends[
            end - 1
        ]

    def place(self, at: int, length: int) -> int:
        """Return where a place of the plain form is in the text, which has this length."""
        if self.places is None:
            return at
        if at < len(self.places):
            return self.places[at]
        return length if self.ends is None else (*self.ends, 0)[len(self.ends) - 1]


def unseen(character: str) -> bool:
    """Return whether a character has no width: between letters nobody sees it."""
    kind = unicodedata.category(character)
    if kind == "Cc":
        return not character.isspace()
    return kind == "Cf" or character in FILLERS or _SELECTORS.match(character) is not None


def unquoted(text: str) -> Plain:
    """Return a text of JSON, or a part of one, as it reads: without escapes.

    One that is not whole at the text's end is left out, with what may follow it.
    """
    if "\\" not in text:
        return Plain(text)
    parts, places, ends, at = [], [], [], 0
    while at < len(text):
        if text[at] == "\\" and _BROKEN.match(text, at):
            break
        match = _ESCAPE.match(text, at)
        end = at + 1 if match is None else match.end()
        for character in text[at:end] if match is None else _read(match.group()):
            parts.append(character)
            places.append(at)
            ends.append(end)
        at = end
    return Plain("".join(parts), places, ends)


def _read(escape: str) -> str:
    if escape[1] != "u":
        return _SHORT.get(escape[1], escape[1])
    codes = [int(code, 16) for code in escape[2:].split("\\u")]
    return b"".join(code.to_bytes(2, "big") for code in codes).decode("utf-16-be", "replace")


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
