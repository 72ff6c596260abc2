"""Pieces of a text: what vocabularies of models cut it into, roughly, and how many of each kind.

No vocabulary is needed, and no network. Counting is done by ``bytes.translate`` and
``bytes.count``, so it takes time that grows with the text alone, whatever stands in it.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping

#: How many pieces of each kind there are; kinds that do not occur are left out.
Pieces = Mapping[str, int]

#: Scripts by the first byte of their characters in UTF-8, and tokens a character before anything
#: was learned: the means of eight vocabularies of 32,000 to 200,000 tokens.
_SCRIPTS: dict[str, tuple[Iterable[int], float]] = {
    "latin": (range(0xC2, 0xCE), 1.2),  # letters with accents, beside ASCII
    "greek": (range(0xCE, 0xD0), 0.9),
    "cyrillic": (range(0xD0, 0xD4), 0.5),
    "hebrew": (range(0xD4, 0xD8), 0.9),  # and Armenian
    "arabic": (range(0xD8, 0xE0), 0.8),
    "indic": (range(0xE0, 0xE1), 1.0),  # and Thai
    "signs3": (range(0xE1, 0xE3), 1.2),  # typographic signs; Georgian, Ethiopic, Vietnamese
    "kana": (range(0xE3, 0xE4), 0.85),
    "han": (range(0xE4, 0xEA), 1.0),
    "hangul": (range(0xEA, 0xEE), 1.2),
    "wide": (range(0xEE, 0xF0), 1.0),
    "emoji": (range(0xF0, 0x100), 2.6),
}
#: Tokens of a piece of each kind before anything was learned.
TOKENS: dict[str, float] = {
    "word": 0.8,  # a run of ASCII letters
    "long": 0.4,  # each further six letters of one
    "case": 0.9,  # a capital inside of a word
    "digit": 0.9,
    "sign": 0.55,
    "gap": 0.3,  # two spaces
    "line": 0.8,  # its end, or a tab
    **{script: tokens for script, (_, tokens) in _SCRIPTS.items()},
    "message": 4.0,  # what stands around its words
    "attachment": 1_600.0,  # what the largest image costs that providers take
}


def _table(groups: Mapping[bytes, Iterable[int]], other: bytes) -> bytes:
    table = bytearray(other * 256)
    for mark, found in groups.items():
        for byte in found:
            table[byte] = mark[0]
    return bytes(table)


_LETTERS, _DIGITS = string.ascii_letters.encode(), string.digits.encode()
_MARKS = _table(
    {
        b".": range(0x80),  # signs, and control characters
        b"a": string.ascii_lowercase.encode(),
        b"A": string.ascii_uppercase.encode(),
        b"0": _DIGITS,
        b" ": b" ",
        b"n": b"\t\n\r",
    },
    b"-",
)
_RUNS = _table({b"a": _LETTERS}, b" ")
#: Each script has a letter of its own.
_SCRIPT_MARKS = {script: bytes([ord("a") + n]) for n, script in enumerate(_SCRIPTS)}
_OTHERS = _table({_SCRIPT_MARKS[s]: first for s, (first, _) in _SCRIPTS.items()}, b"-")


def pieces(text: str) -> Pieces:
    """Count the pieces of a text. More text never has fewer of any kind."""
    data = text.encode("utf-8", "surrogatepass")
    marks = data.translate(_MARKS)
    runs = (b" " + data).translate(_RUNS)
    found = {
        "word": runs.count(b" a"),
        "long": runs.count(b"aaaaaa"),
        "case": marks.count(b"aA"),
        "digit": marks.count(b"0"),
        "sign": marks.count(b"."),
        "gap": marks.count(b"  "),
        "line": marks.count(b"n"),
    }
    if not text.isascii():
        others = data.translate(_OTHERS)
        found |= {script: others.count(mark) for script, mark in _SCRIPT_MARKS.items()}
    return {kind: number for kind, number in found.items() if number}
