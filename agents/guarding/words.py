"""Words that are looked for however they are written: case, accents, widths, digits for letters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from agents.guarding.finding import Finding
from agents.guarding.plain import CONTROLS, KEPT, Plain, unseen

#: Signs that stand for letters in words that somebody hides. ``@`` and ``$`` are breaks, too.
_ALIKE = ("a4@", "e3", "i1", "l1", "o0", "s5$", "t7")
_UNSIGNED = str.maketrans("", "", "@$")
#: Letters of other scripts that look like these, in the case that folding gives.
_LOOKS = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u04bb\u051b\u051d"
    "\u0432\u043a\u043c\u043d\u0442\u03bf\u03b1\u03c1\u03bd\u03b9\u0261\u0131",
    "aeopcyxijsdhqwbkmhtoapvigi",
)
#: Marks on letters.
_MARKS = frozenset({"Mn", "Me"})
_BREAKS = re.compile(r"[\W_]+")
#: Letters and digits that a ``*`` stands for.
_ENDING = 40


class Words:
    """Finds words and phrases.

    A ``*`` at a word's end stands for any ending. Both sides are compared in one plain form: NFKD
    without marks and unseen characters (unicode.org/reports/tr15), case folded, letters for those
    that look like them. Between the words of a phrase any breaks may stand.
    """

    def __init__(self, words: Iterable[str]) -> None:
        told = [*words]
        # Of two that begin in one place the one with more words is longer.
        told.sort(key=lambda word: (-len(_BREAKS.split(word)), -len(word)))
        either = "|".join(map(_expression, told))
        self._pattern = re.compile(rf"(?<![^\W_])(?=({either})(?![^\W_]))")
        self._longest = max(map(_length, told), default=0)

    def __call__(self, text: str) -> Sequence[Finding]:
        """Find them in a text, those that overlap among them."""
        plain = _plain(text)
        return [
            Finding(*plain.span(*match.span(1)), "word")
            for match in self._pattern.finditer(plain.text)
        ]

    def open(self, text: str) -> int:
        """Return from where on one may still begin: what follows decides about it."""
        plain = _plain(text)
        at, left, broken = len(plain.text), self._longest + 1, False
        while at and left:  # a row of breaks counts as one, however long it is
            at -= 1
            breaks = _is_break(plain.text[at])
            left -= not (breaks and broken)
            broken = breaks
        return plain.place(at, len(text))


def _expression(word: str) -> str:
    """Return the expression of a phrase; signs at its ends (``c++``) are its own, others breaks."""
    stem = _plain(word.removesuffix("*")).text.strip()
    parts = [part for part in _BREAKS.split(stem) if part]
    if not parts:  # nothing but signs
        return re.escape(stem)
    first, last = stem.index(parts[0]), stem.rindex(parts[-1]) + len(parts[-1])
    told = r"[\W_]+".join(_letters(part, alone=len(parts) == 1) for part in parts)
    ending = rf"[^\W_]{{0,{_ENDING}}}" if word.endswith("*") else ""
    return "".join(map(_letter, stem[:first])) + told + re.escape(stem[last:]) + ending


def _letters(part: str, *, alone: bool) -> str:
    """Return the expression of a word.

    In a phrase each has a letter or a digit: else a row of signs could be read in too many ways.
    """
    first, *rest = map(_letter, part)
    if not alone and set(part) <= set("as45"):
        first = first.translate(_UNSIGNED)
    return first + "".join(rest)


def _letter(character: str) -> str:
    alike = "".join(sorted({one for group in _ALIKE if character in group for one in group}))
    return f"[{alike}]" if alike else re.escape(character)


def _length(word: str) -> int:
    """Return how long what it finds may be, where a row of breaks counts as one."""
    return len(_BREAKS.sub(" ", _plain(word).text)) + (_ENDING if word.endswith("*") else 0)


def _is_break(character: str) -> bool:
    return character == "_" or not character.isalnum()


class _Folds(dict[str, str]):
    """The plain form of each character."""

    def __missing__(self, character: str) -> str:
        if len(self) >= KEPT:
            self.clear()
        found = self[character] = _fold(character)
        return found


def _fold(character: str) -> str:
    if unseen(character):
        return ""
    parts = unicodedata.normalize("NFKD", character)
    kept = [p for p in parts if not unseen(p) and unicodedata.category(p) not in _MARKS]
    return "".join(kept).casefold().translate(_LOOKS)


_FOLDS = _Folds()


def _plain(text: str) -> Plain:
    if text.isascii() and not CONTROLS.search(text):
        return Plain(text.lower())
    parts = [_FOLDS[character] for character in text]
    places = [place for place, part in enumerate(parts) for _ in part]
    return Plain("".join(parts), places)
