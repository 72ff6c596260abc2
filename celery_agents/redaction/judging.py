"""Tests of a word: is it like a secret, or like one of a language, of code or of a template?"""

from __future__ import annotations

import re

#: What stands for a secret.
HIDDEN = "***"

_PLACEHOLDER = re.compile(
    r"[*.…•_-]*+|\*++.{0,3}|[xX]{3,}+|<[^>]{1,64}>?|\$\{[^}]{1,64}+\}?|\$[A-Z_]{1,64}+|%\w{1,64}+%"
    r"|\{{1,2}[^{}]{0,64}+\}{0,2}|%(?:\(\w{1,64}+\))?[a-z]|\[[A-Za-z ]{1,32}+\]?|\*{3}\S{0,8}+"
    r"|(?:YOUR|MY|THE)[-_ ][A-Z_-]{1,40}+"
)
_WORDS = frozenset({
    "none", "null", "nil", "true", "false", "undefined", "str", "string", "int", "integer",
    "number", "float", "bool", "boolean", "bytes", "any", "object", "array", "list", "dict",
    "optional", "required", "missing", "invalid", "expired", "empty", "unset", "unknown", "not",
    "set", "yes", "no", "on", "off", "is", "was", "has", "the", "a", "an", "and", "or", "of", "for",
    "in", "to", "must", "should", "can", "will", "may", "with", "wrong", "incorrect",
    "unauthorized", "unauthenticated", "forbidden", "denied", "failed", "mismatch", "error",
    "secretstr", "text", "redacted", "hidden", "masked", "default", "type", "please", "enter",
    "your", "my", "bearer", "basic", "password", "token", "secret", "passwords", "tokens",
    "secrets", "key", "keys", "authorization", "ok", "valid", "mandatory", "needed", "unexpected",
    "<eof>", "eof",
})  # fmt: skip
_NUMBER = re.compile(r"[-+]?[\d,._]{1,12}+(?:%|[A-Za-z]{1,2}(?:/[a-z]{1,3})?)?")
_CALL = re.compile(r"[A-Za-z_][\w.]{0,64}+[(\[]")
_DOTTED = re.compile(
    r"[A-Za-z_][A-Za-z_]{0,32}+(?>(?:\.[A-Za-z_]{1,32}+)+)|[a-z]++(?>(?:_[a-z]++)+)"
)
_HUMP = re.compile(r"[a-z][A-Z]")
_SIGN = re.compile(r"[!@#$%^*+=~|](?=.)|\w=$|[!#$%^*]$")
_TRAIL = ".,;:?)]}'\""
#: Characters of a word that are looked at; what is longer is judged by them.
LOOKED_AT = 256
_SHORT, _LONG, _WORDY = 6, 20, 12


def is_placeholder(word: str) -> bool:
    """Return whether a template, a form or an earlier redaction put it there."""
    return len(word) <= LOOKED_AT and _PLACEHOLDER.fullmatch(word) is not None


def has_any(text: str, words: tuple[str, ...]) -> bool:
    """Return whether one of the words is in a text."""
    for word in words:  # noqa: SIM110 - a generator takes three times as long, each time
        if word in text:
            return True
    return False


def is_word(word: str) -> bool:
    """Return whether it is one of those that follow ``password:`` in prose, schemas and code."""
    return len(word) <= LOOKED_AT and word.strip(_TRAIL).lower() in _WORDS


def is_number(word: str) -> bool:
    """Return whether it is a count, a share or a price."""
    return _NUMBER.fullmatch(word.strip(";:?)]}'\"")) is not None


def is_code(word: str) -> bool:
    """Return whether it is a call, an index, an attribute or a variable."""
    return len(word) <= LOOKED_AT and bool(
        _CALL.match(word) or _DOTTED.fullmatch(word.rstrip(_TRAIL))
    )


def is_path(word: str) -> bool:
    """Return whether it is a file's path."""
    return word.startswith(("/", "~/", "./", "../", "C:\\", "file:"))


def is_random(word: str) -> bool:
    """Return whether it mixes letters, digits and signs as no word does, or is one long piece."""
    word = word[:LOOKED_AT].strip(_TRAIL)
    if len(word) < _SHORT:
        return False
    letters = any(map(str.isalpha, word))
    if letters and any(map(str.isdigit, word)):
        return True
    if (letters or len(word) >= _WORDY) and _SIGN.search(word):
        return True
    if len(_HUMP.findall(word)) > 1:
        return True
    return len(word) >= _LONG and not any(sign in word for sign in "-_./ ")


def is_key_like(word: str) -> bool:
    """Return whether a key could end so: kebab and snake case are words, not keys."""
    return any(_mixed(part) for part in re.split(r"[-_.]", word[:LOOKED_AT]))


def _mixed(part: str) -> bool:
    digits, letters = sum(map(str.isdigit, part)), sum(map(str.isalpha, part))
    if len(part) >= _SHORT and digits and letters:
        return True
    return len(part) >= _WORDY and (digits > 0 or len(_HUMP.findall(part)) > 1)
