"""Whole numbers in words and as the Romans wrote them."""

from __future__ import annotations

from agents.tools.calls import ToolError

_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ("", "thousand", "million", "billion", "trillion", "quadrillion", "quintillion")
_LETTERS = (
    *((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L")),
    *((40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")),
)
_VALUES = {letters: value for value, letters in _LETTERS}
_MAX_ROMAN = 3_999


def in_words(number: int) -> str:
    """A number in English words."""
    if abs(number) >= 1000 ** len(_SCALES):
        raise ToolError(f"Numbers below 10^{3 * len(_SCALES)} are written in words.")
    if number < 0:
        return f"minus {in_words(-number)}"
    parts = []
    for scale in _SCALES:
        number, rest = divmod(number, 1000)
        if rest:
            parts.append(f"{_below_thousand(rest)} {scale}".strip())
    return " ".join(reversed(parts)) or _SMALL[0]


def _below_thousand(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    told = [f"{_SMALL[hundreds]} hundred"] if hundreds else []
    if rest >= len(_SMALL):
        tens, ones = divmod(rest, 10)
        told.append(_TENS[tens - 2] + (f"-{_SMALL[ones]}" if ones else ""))
    elif rest:
        told.append(_SMALL[rest])
    return " ".join(told)


def roman(number: int) -> str:
    """A number in Roman letters."""
    if not 1 <= number <= _MAX_ROMAN:
        raise ToolError(f"The Romans wrote numbers from 1 to {_MAX_ROMAN}.")
    told = ""
    for value, letters in _LETTERS:
        times, number = divmod(number, value)
        told += letters * times
    return told


def unroman(letters: str) -> int:
    """The number that Roman letters are."""
    values = [_VALUES[letter] for letter in letters]
    found = sum(-v if v < after else v for v, after in zip(values, [*values[1:], 0], strict=True))
    if not 1 <= found <= _MAX_ROMAN or roman(found) != letters:
        raise ToolError(f"{letters!r} is no Roman number.")
    return found
