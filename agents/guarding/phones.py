"""Numbers of phones, by the plans of their countries (phonenumberslite, an extra).

Candidates are found by one pattern; the plans are asked about those alone, which is what makes it
quick. A number without a ``+`` is one where its digits stand as a region writes them, or a word
before it says that it is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from agents.guarding.finding import Finding
from celery_agents.errors import ConfigurationError

_CANDIDATE = re.compile(
    r"(?<![A-Za-z0-9_\u00c0-\u024f.,#$€£¥+/@=&?-])(?<!\d:)"
    r"[(]?(?:\+|＋|00)?[( ]{0,2}\d(?:[ \u00a0().\u2010-\u2015/-]{0,3}\d){6,16}"  # noqa: RUF001 - wide signs are written so
    r"(?![A-Za-z0-9_\u00c0-\u024f%$€£°]|[.,/:-]\d|-[A-Za-z])"
)
_SAYS_SO = re.compile(
    r"(?i)(?:\b(?:t[eé]l|t[eé]l[eé]?(?:ph|f)\w*|phone|call(?:ing|ed)?|ring|mobile?|cell|cellular|"
    r"handy|mobil|fax|sms|text|whats?app|signal|dial|reach|portable|m[óo]vil|celular|cellulare|"
    r"gsm|mob|ph|tlf|rufnummer|anruf(?:en)?|hotline|contact|callback|landline)\b|"
    r"тел|звон|моб|電話|携帯|連絡先|फ़ोन|मोबाइल|هاتف|전화)"
)
#: What a number is of that is no phone, right before it.
_SAYS_ELSE = re.compile(
    r"(?i)\b(?:order|invoice|ticket|case|ref(?:erence)?|sku|isbn|ean|upc|imei|serial|tracking|part|"
    r"item|article|artikel|rechnung|bestell\w*|commande|facture|pedido|factura|ordine|fattura|"
    r"account|konto|batch|lot|model|id|policy|customer|kunden\w*|parcel|package|version|build|step|"
    r"rows?|line|code|pin|vat|tax|issn|doi|asin|gtin|iban|total|amount|price|population|bytes?|"
    r"size|seed|epoch|timestamp|port|zip|postcode|plz)"
    r"[.:#]?[ ]{0,2}(?:no\.?|nr\.?|number|nummer|id|is|was|=)?[ :#=]{0,3}$"
)
#: The same where nothing says that it is a phone's.
_SAYS_LESS = re.compile(r"(?i)\b(?:no|nr|num|№)[.:]?[ ]{0,2}$")
#: What a number is written with, beside digits.
_SIGNS = frozenset("(+＋ \u00a0).\u2010\u2011\u2012\u2013\u2014\u2015/-")  # noqa: RUF001 - as above
#: Shapes of other things: a social security number, a decimal fraction.
_OTHER = re.compile(r"\d{3}-\d{2}-\d{4}|\d{1,3}\.\d+|\d{1,3}(?:[., ]\d{3})+")
#: How far before a number the word stands that says what it is.
_NEAR = 32
#: Digits of a national number without a sign between them, of which nothing says what it is.
_BARE_LEAST, _BARE_MOST = 10, 11
_DATE = re.compile(
    r"^\(?(?:19|20)\d\d[-./ ](?:0?[1-9]|1[0-2])[-./ ]|"
    r"^\d{1,2}[-./]\d{1,2}[-./](?:19|20)\d\d"
)
_SEVEN_DIGITS = re.compile(r"\d(?:\D{0,3}\d){6}")


def plans() -> Any:
    """The library of numbering plans.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        import phonenumbers
    except ImportError:
        raise ConfigurationError(
            "phones are found by phonenumberslite: pip install 'celery-agents[pii]'"
        ) from None
    return phonenumbers


def regions() -> frozenset[str]:
    """The regions that have a plan."""
    return frozenset(plans().SUPPORTED_REGIONS)


def phones(text: str, of: Sequence[str]) -> Iterator[Finding]:
    """Numbers of phones: with their country's code, and as the regions write their own."""
    if not _SEVEN_DIGITS.search(text):
        return
    for match in _CANDIDATE.finditer(text):
        told = match.group()
        before = text[max(0, match.start() - _NEAR) : match.start()]
        said = _SAYS_SO.search(before) is not None
        if _is_phone(told, before, tuple(of), said=said):
            start = match.start() + (len(told) - len(told.lstrip()))
            yield Finding(start, match.end(), "phone")


def open_phone(text: str) -> int:
    """Return from where on a number may still begin, or be another one: the row of its signs."""
    at = max(0, len(text) - 2)
    while at and (text[at - 1].isdecimal() or text[at - 1] in _SIGNS):
        at -= 1
    return at


def _is_phone(told: str, before: str, of: tuple[str, ...], *, said: bool) -> bool:
    if told.lstrip("( ").startswith(("+", "＋")):  # noqa: RUF001 - the wide sign
        return _valid(told, "ZZ")
    if _SAYS_ELSE.search(before) or (not said and _is_other(told, before)):
        return False
    if told.startswith("00"):
        return _valid("+" + told[2:], "ZZ") or (said and any(_valid(told, one) for one in of))
    bare = told.isdecimal()
    if bare and not said and not (told[0] == "0" and _BARE_LEAST <= len(told) <= _BARE_MOST):
        return False
    return any(_valid(told, one, strict=not bare and not said) for one in of)


def _is_other(told: str, before: str) -> bool:
    shape = _DATE.match(told) or _OTHER.fullmatch(told)
    return shape is not None or _SAYS_LESS.search(before) is not None


@lru_cache(maxsize=1024)
def _valid(told: str, region: str, *, strict: bool = False) -> bool:
    """Return whether it is a number of a plan; ``strict``: in the groups in which it is written."""
    library = plans()
    try:
        number = library.parse(told, None if region == "ZZ" else region)
    except library.NumberParseException:
        return False
    if not library.is_valid_number(number):
        return False
    if not strict:
        return True
    leniency = library.Leniency.STRICT_GROUPING
    return any(True for _ in library.PhoneNumberMatcher(told, region, leniency=leniency))
