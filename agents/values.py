"""JSON values at the borders: made plain, digested, and read from what others wrote."""

from __future__ import annotations

import hashlib
import json
import re
from _json import encode_basestring_ascii, make_encoder
from contextlib import suppress
from typing import Any, NoReturn

from pydantic import JsonValue
from pydantic_core import to_jsonable_python

from celery_agents.errors import BadAnswerError, InvalidPayloadError, redact
from celery_agents.values import has_halves, problem

_THOUGHTS = re.compile(r"<(think|thinking|thought|reasoning)>", re.IGNORECASE)
_FENCE = "```"
#: Bytes of an answer, beyond those shown, that are searched for secrets.
_READ = 8_000
_LANGUAGE = re.compile(r"[ \t]*[\w+-]*[ \t]*")


def digest(value: Any) -> str:
    """A short stable digest (128 bits of SHA-256) of a JSON value, whatever its key order."""
    return digest_of_json(to_jsonable_python(value))


def digest_of_json(value: Any) -> str:
    """The same of what is known to be JSON: nothing in it has to be converted first."""
    return hashlib.sha256("".join(_SORTED(value, 0)).encode()).hexdigest()[:32]


def text_of(value: JsonValue) -> str:
    """A value as a model reads it: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else _UNESCAPED.encode(value)


#: The size of a part of a list or an object, beside its characters.
PART_SIZE = 8
_PARTED = frozenset({list, tuple, dict, set, frozenset})


def within(value: Any, most: int) -> bool:
    """Return whether a value is of a size: its characters, and some more for each part of it.

    As JSON it has six times as many bytes at the most. It looks no further than it has to, and
    writes nothing.
    """
    todo = [value]
    for one in todo:  # it grows by their parts
        kind = type(one)
        if kind is str or kind is bytes:
            most -= len(one)
        elif kind is int:
            most -= one.bit_length() // 8
        elif kind in _PARTED:
            most -= PART_SIZE * len(one)
            if most >= 0:
                todo += one
                todo += one.values() if kind is dict else ()
        if most < 0:
            return False
    return True


def parse_json(text: str | bytes, *, who: str) -> JsonValue:
    """Read JSON that ``who`` wrote; see :func:`json_in`.

    Raises:
        BadAnswerError: it is not JSON (NaN and infinities are not), or no value that can be kept.
    """
    try:
        value = json_in(text.decode() if isinstance(text, bytes) else text)
    except ValueError:
        raise BadAnswerError(f"{who} did not answer with JSON: {shown(text)}") from None
    if (wrong := problem(value)) is not None:
        raise BadAnswerError(f"{who} answered with what cannot be kept: {wrong}.")
    return value


def json_in(text: str) -> JsonValue:
    """The JSON value that a model wrote, wherever there is no doubt which one that is.

    It may stand behind the model's thoughts, and in the only Markdown code block of its text.

    Raises:
        ValueError: there is none, or it is no JSON in the strict sense.
    """
    plain = text.strip()
    forms = (plain, answer_in(plain), _block_in(_without_thoughts(plain)), _block_in(plain))
    for form in dict.fromkeys(filter(None, forms)):
        with suppress(ValueError, RecursionError):
            found: JsonValue = _STRICT.decode(form)
            return found
    raise ValueError("no JSON")


def json_or_text(text: str) -> JsonValue:
    """The body of an error: its JSON value where it is one."""
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value


def answer_in(text: str) -> str:
    """A model's text without the thoughts before it and one code fence around it."""
    answer = _without_thoughts(text.strip())
    if not (
        answer.startswith(_FENCE) and answer.endswith(_FENCE) and len(answer) >= 2 * len(_FENCE)
    ):
        return answer
    inner = answer[len(_FENCE) : -len(_FENCE)]
    language, newline, rest = inner.partition("\n")
    if newline and _LANGUAGE.fullmatch(language):
        inner = rest
    elif inner[:4].lower() == "json":  # all in one line
        inner = inner[4:]
    return inner.strip()


def _block_in(text: str) -> str:
    """The only code block of a text; nothing when there are several, or none."""
    blocks: list[str] = []
    begun: list[str] | None = None
    for line in text.split("\n"):
        mark = line.strip()
        if begun is None:
            opens = mark.startswith(_FENCE) and _LANGUAGE.fullmatch(mark[len(_FENCE) :])
            begun = [] if opens else None
        elif mark == _FENCE:
            blocks.append("\n".join(begun))
            begun = None
        else:
            begun.append(line)
    return blocks[0] if len(blocks) == 1 and begun is None else ""


def _without_thoughts(text: str) -> str:
    """Drop ``<think>…</think>``; templates may have opened it before the text begins."""
    at = 0
    while (opened := _THOUGHTS.match(text, at)) is not None:
        closed = re.compile(f"</{opened[1]}>\\s*", re.IGNORECASE).search(text, at)
        if closed is None:
            return text
        at = closed.end()
    if at or text.startswith(("{", "[", _FENCE)):
        return text[at:]
    before, closing, after = text.partition("</think>")
    return after.strip() if closing else before


def sendable(text: str) -> str:
    """The same text, if it can be sent to another host.

    Raises:
        InvalidPayloadError: half of a surrogate pair is in it, which no UTF-8 can hold.
    """
    if has_halves(text):
        raise InvalidPayloadError(
            "The input holds half of a surrogate pair (an emoji that was cut?). Only functions and "
            "Celery tasks can get it; nothing was sent."
        )
    return text


def shown(text: object, limit: int = 200) -> str:
    """The head of an answer as an error message quotes it, redacted before it is cut."""
    if isinstance(text, bytes):
        text = text[: _READ + limit].decode(errors="replace")
    return repr(redact(text, limit=limit))


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


#: One for all: making one takes as long as reading or writing a short text. What is JSON holds
#: nothing that holds it, so they need not look for that.
_UNESCAPED = json.JSONEncoder(ensure_ascii=False, check_circular=False)
#: What a JSON encoder makes anew for each value, which takes longer than to write a short one.
_SORTED = make_encoder(
    None, _UNESCAPED.default, encode_basestring_ascii, None, ":", ",", True, False, True
)
_STRICT = json.JSONDecoder(parse_constant=_refuse)
