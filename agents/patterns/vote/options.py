"""Comparison of written options: which of them are the same one."""

from __future__ import annotations

import re
import unicodedata
from decimal import Context, Decimal
from functools import lru_cache

from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.vote import Normalisation
from celery_agents.values import mended

_NUMBER = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})(e[+-]?\d{1,3})?", re.IGNORECASE)
_QUOTES = "\"'`*\u00ab\u00bb\u2018\u2019\u201c\u201d"
_LIMIT = 1_000  # an option is a word or a line; characters
_EXACTLY = Context(prec=100)


def normalise(value: JsonValue, rules: Normalisation) -> str | None:
    """The form in which an option is compared and counted; None when it cannot be one.

    Options are strings, numbers and booleans. Unicode NFC holds before and after casefolding.
    """
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, int) and value.bit_length() > _LIMIT:
        return None
    elif isinstance(value, str | int | float):
        text = mended(str(value))  # options are keys of the tally, which have no halves
    else:
        return None
    if len(text) > _LIMIT:
        return None
    text = unicodedata.normalize("NFC", text)
    if rules.strip:
        text = " ".join(text.split()).strip(_QUOTES + " ").removesuffix(".").strip(_QUOTES + " ")
    if rules.numbers and _NUMBER.fullmatch(text.strip()):
        text = _number(text.strip())
    if rules.casefold:
        text = unicodedata.normalize("NFC", text.casefold())
    return text or None


def match(value: JsonValue, choices: tuple[str, ...] | None, rules: Normalisation) -> str | None:
    """The option that an answer names: one of ``choices`` as they are written, if given.

    An answer that names a choice only loosely, and could mean two of them, names none.
    """
    if choices is None:
        return normalise(value, rules)
    if isinstance(value, str) and value in choices:
        return value
    named = normalise(value, rules)
    return None if named is None else _index(choices, rules).get(named)


@lru_cache(maxsize=256)
def _index(choices: tuple[str, ...], rules: Normalisation) -> dict[str, str]:
    forms = [normalise(choice, rules) for choice in choices]
    return {
        form: choice
        for form, choice in zip(forms, choices, strict=True)
        if form is not None and forms.count(form) == 1
    }


def _number(text: str) -> str:
    number = _EXACTLY.create_decimal(text).normalize(_EXACTLY)
    if number == 0:
        return "0"
    return format(number, "f") if abs(number.adjusted()) <= 40 else str(Decimal(number))  # noqa: PLR2004  # longer ones keep their exponent
