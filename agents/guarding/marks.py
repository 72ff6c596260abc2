"""Marks that stand for what was masked on the way in, and what they stand for."""

from __future__ import annotations

import re
from collections.abc import Callable

from agents.guarding.finding import Finding

#: The kind of a mark's place.
KNOWN = "\0mark"
#: In place of what nobody may see.
WITHHELD = "⟨WITHHELD⟩"
_MARK = re.compile(r"⟨[A-Z0-9_]{1,40}_\d{1,9}⟩")
_BEGUN = re.compile(r"⟨[A-Z0-9_]*\Z")
_LENGTH = 52
_ODD = re.compile(r"[^A-Z0-9_]+")


class Marks:
    """The marks of one turn.

    Args:
        asked: tells what was asked, as JSON: marks that stand in it already are the asker's own.
    """

    def __init__(self, asked: Callable[[], str]) -> None:
        self._asked = asked
        self._marks: dict[tuple[str, str], str] = {}  # by kind and text
        self._meant: dict[str, str] = {}  # texts by marks
        self._next: dict[str, int] = {}  # by name: below it all numbers are taken
        self._texts: set[str] = set()
        self._taken: set[str] | None = None

    def stands_for(self, text: str) -> bool:
        """Return whether one of them stands for exactly this."""
        return text in self._texts

    def __bool__(self) -> bool:
        return bool(self._marks)

    def of(self, kind: str, text: str) -> str:
        """Return the mark that stands for a text: the same one for the same text."""
        if (known := self._marks.get((kind, text))) is not None:
            return known
        if self._taken is None:  # by texts that look like marks
            self._taken = set(_MARK.findall(self._asked()))
        name = named(kind)
        number = self._next.get(name, 1)
        while (mark := f"⟨{name}_{number}⟩") in self._taken:
            number += 1
        self._next[name] = number + 1
        self._taken.add(mark)
        self._marks[kind, text] = mark
        self._meant[mark] = text
        self._texts.add(text)
        return mark

    def places(self, text: str) -> list[Finding]:
        """Return where marks of this turn stand: in themselves nothing is found."""
        if not self._marks or "⟨" not in text:
            return []
        return [
            Finding(*match.span(), KNOWN)
            for match in _MARK.finditer(text)
            if match.group() in self._meant
        ]

    def foreign(self, text: str, *, but_own: bool = False) -> str:
        """Return a text in which marks of others stand for nobody: theirs is not who ours is.

        ``but_own``: what has been told marks of this turn may say them again.
        """
        if "⟨" not in text:
            return text
        return _MARK.sub(
            lambda m: m.group() if but_own and m.group() in self._meant else _nobodys(m.group()),
            text,
        )

    def open(self, text: str) -> int:
        """Return from where on a mark may still come of what follows."""
        begun = _BEGUN.search(text, max(0, len(text) - _LENGTH)) if self._marks else None
        return len(text) if begun is None else begun.start()

    def meant(self, mark: str) -> str:
        """Return what one of them stands for; another text stays as it is."""
        return self._meant.get(mark, mark)

    def put_back(self, text: str) -> str:
        """Return a text with what its marks stand for."""
        return _MARK.sub(lambda match: self.meant(match.group()), text) if "⟨" in text else text


def _nobodys(mark: str) -> str:
    return mark[: mark.rindex("_")] + "⟩"


def hidden(kind: str, _: str) -> str:
    """Return what stands for something that is not put back."""
    return f"⟨{named(kind)}⟩"


def named(kind: str) -> str:
    """Return a kind as marks write it: without a number at its end, which they have themselves."""
    return _ODD.sub("_", kind.upper())[:40].rstrip("_0123456789") or "DATA"
