"""Numbers of cards and accounts by their check digits, and numbers of people by their ranges."""

from __future__ import annotations

import re
from collections.abc import Iterator

from agents.guarding.finding import Finding, matches

#: Digits alone, or in the groups that cards print: 4-4-4-4(-3), and 4-6-5 or 4-6-4.
_CARD = re.compile(
    r"(?<![\w.,#/-])(?:\d{14,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|"
    r"3\d{3}([ -])\d{6}\2\d{4,5})"
    r"(?![\w/-]|[.,]\d)"
)
#: The first digits of issuers, and how many each of their numbers has (ISO/IEC 7812; tables of
#: Visa, Mastercard, American Express, Diners, Discover, JCB, UnionPay, Maestro, Mir, RuPay, Elo).
#: Visa's of 13 digits are left out: nobody has one any more, and barcodes look like them.
_ISSUERS: tuple[tuple[int, int, frozenset[int]], ...] = (
    (4, 4, frozenset({16, 19})),
    (51, 55, frozenset({16})),
    (2221, 2720, frozenset({16})),
    (34, 34, frozenset({15})),
    (37, 37, frozenset({15})),
    (300, 305, frozenset({14})),
    (36, 36, frozenset({14})),
    (38, 39, frozenset({14})),
    (6011, 6011, frozenset({16, 19})),
    (644, 649, frozenset({16, 19})),
    (65, 65, frozenset({16, 19})),
    (3528, 3589, frozenset({16, 19})),
    (62, 62, frozenset({16, 17, 18, 19})),
    (2200, 2205, frozenset({16, 17, 18, 19})),
    (508, 508, frozenset({16})),
    (60, 60, frozenset({16})),
    (81, 82, frozenset({16})),
    (5018, 5018, frozenset({16})),
    (5020, 5020, frozenset({16})),
    (5038, 5038, frozenset({16})),
    (5893, 5893, frozenset({16})),
    (6304, 6304, frozenset({16})),
    (6759, 6763, frozenset({16})),
    (636368, 636368, frozenset({16})),
)
#: Of digits at even places from the end, doubled (the Luhn formula, ISO/IEC 7812-1, annex B).
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)

#: www.ssa.gov/employer/randomization.html: areas 000, 666 and 900 up, groups 00 and serials 0000
#: are never assigned.
_SSN = re.compile(
    r"(?<![\w.#-])(?!000|666|9)\d{3}([- ]?)(?!00)\d{2}\1(?!0000)\d{4}(?![\w-]|[.,]\d)"
)
_SSN_WORDS = re.compile(r"(?i)\b(?:ssn|social[ -]security|soc\.? ?sec)")
#: Numbers of advertisements, which are nobody's.
_NOBODYS = frozenset({"078051120", "219099999"})

_IBAN = re.compile(r"(?<![^\W_])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}")
#: Characters of an account's number by its country (SWIFT's registry of ISO 13616).
_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FO GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU XK MN",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM TL SO",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}
_IBAN_BEGINS = re.compile(r"(?<![^\W_])[A-Za-z]{2}\d{2}|(?<![^\W_])[A-Za-z]{1,2}\d?\Z")
#: Characters of one, with those behind it that decide about it.
_LONGEST_NUMBER, _LONGEST_IBAN = 28, 68
#: How far before a number the word stands that says what it is.
NEAR = 24


def cards(text: str) -> Iterator[Finding]:
    """Numbers of payment cards."""
    for match in matches(_CARD, text):
        digits = _digits(match.group())
        if _issued(digits) and _luhn(digits):
            yield Finding(*match.span(), "card")


def ssns(text: str) -> Iterator[Finding]:
    """Social security numbers of the United States; without dashes, where a word says so."""
    for match in matches(_SSN, text):
        said = match[1] == "-" or _SSN_WORDS.search(text, max(0, match.start() - NEAR), match.end())
        if said and _digits(match.group()) not in _NOBODYS:
            yield Finding(*match.span(), "ssn")


def ibans(text: str) -> Iterator[Finding]:
    """International bank account numbers."""
    for match in matches(_IBAN, text):
        length = _LENGTHS.get(match.group()[:2].upper())
        end = None if length is None else _end(text, match, length)
        if end is not None and _mod_97(text[match.start() : end]):
            yield Finding(match.start(), end, "iban")


def open_number(text: str) -> int:
    """Return from where on a number of a card or a person may still begin, or become another."""
    at, least = max(0, len(text) - 2), max(0, len(text) - _LONGEST_NUMBER)
    while at > least and (text[at - 1].isdecimal() or text[at - 1] in " -"):
        at -= 1
    return at


def open_iban(text: str) -> int:
    """Return from where on an account's number may still begin, or become another one."""
    found = _IBAN_BEGINS.search(text, max(0, len(text) - _LONGEST_IBAN))
    return len(text) if found is None else found.start()


def _end(text: str, match: re.Match[str], length: int) -> int | None:
    """Return the place behind so many letters and digits, if none follows there."""
    for end in range(match.start() + length, match.end() + 1):
        if sum(map(str.isalnum, text[match.start() : end])) == length:
            return None if text[end : end + 1].isalnum() else end
    return None


def _mod_97(account: str) -> bool:
    """ISO 7064, MOD 97-10: the country and check digits go to the end, letters are 10 to 35."""
    plain = "".join(filter(str.isalnum, account)).upper()
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _digits(number: str) -> str:
    return "".join(str(int(c)) for c in number if c.isdecimal())


def _issued(digits: str) -> bool:
    for low, high, lengths in _ISSUERS:
        if len(digits) in lengths and low <= int(digits[: len(str(low))]) <= high:
            return True
    return False


def _luhn(digits: str) -> bool:
    odd = sum(map(int, digits[-1::-2]))
    even = sum(_DOUBLED[int(c)] for c in digits[-2::-2])
    return (odd + even) % 10 == 0
