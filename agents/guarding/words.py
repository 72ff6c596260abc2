"""Words that are looked for however they are written: case, accents, widths, digits for letters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from agents.guarding.finding import Finding

#: Signs that stand for letters in words that somebody hides.
_LEET = str.maketrans("013457@$", "oieastas")
#: Characters that are not seen, and marks on letters.
_UNSEEN = frozenset({"Mn", "Me", "Cf"})
#: What no letter and no digit is.
_BREAK = r"(?:[\W_])"


class Words:
    """Finds words and phrases.

    A ``*`` at a word's end stands for any ending. Both sides are compared in one plain form: NFKD
    without marks and unseen characters (unicode.org/reports/tr15), case folded, letters for the
    signs that imitate them.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._pattern = re.compile(rf"(?<![^\W_])(?:{'|'.join(map(_expression, words))})(?![^\W_])")

    def __call__(self, text: str) -> Sequence[Finding]:
        """Find them in a text."""
        plain, places = _plain(text)
        found = []
        for match in self._pattern.finditer(plain):
            start, end = match.span()
            if places is not None:
                start, end = places[start], places[end - 1] + 1
            found.append(Finding(start, end, "word"))
        return found


def _expression(word: str) -> str:
    stem = word.removesuffix("*")
    parts = [re.escape(part) for part in _plain(stem)[0].split()]
    return rf"{_BREAK}{{1,3}}".join(parts) + (r"[^\W_]{0,40}" if stem != word else "")


def _plain(text: str) -> tuple[str, list[int] | None]:
    """Return the plain form, and which character of the text each of it comes from."""
    if text.isascii():
        return text.lower().translate(_LEET), None
    plain: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        for part in unicodedata.normalize("NFKD", character):
            if unicodedata.category(part) in _UNSEEN:
                continue
            folded = part.casefold().translate(_LEET)
            plain.append(folded)
            places.extend([place] * len(folded))
    return "".join(plain), places
