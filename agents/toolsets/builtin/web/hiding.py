"""Words of a server without the secret that it was sent: it may say it, as it writes texts."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import quote, quote_plus

_HIDDEN = "..."
#: Characters of Base64 that do not occur by chance.
_ENCODED_MIN = 8
_PERCENT = re.compile(r"%[0-9A-F]{2}")
#: What some write in JSON by its number.
_NUMBERED, _NUMBER = re.compile(r"""["&'+<>`\\]"""), re.compile(r"\\u([0-9a-f]{4})")


def hide(secret: str, text: str) -> str:
    """A text without a secret, however usual formats write it."""
    for one in _forms(secret):
        text = text.replace(one, _HIDDEN)
    return text


def hide_in(secret: str, body: bytes) -> bytes:
    """The same of the bytes of a body."""
    for one in _forms(secret):
        body = body.replace(one.encode(), _HIDDEN.encode())
    return body


@lru_cache(64)
def _forms(secret: str) -> tuple[str, ...]:
    """The forms of a secret, the longest first: one may be a part of another."""
    every = {secret, *_of_urls(secret), *_of_texts(secret), *_encoded(secret)} if secret else ()
    return tuple(sorted(every, key=len, reverse=True))


def _of_urls(secret: str) -> Iterator[str]:
    for one in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield one
        yield _PERCENT.sub(lambda found: found[0].lower(), one)


def _of_texts(secret: str) -> Iterator[str]:
    """As JSON and HTML have it."""
    written = json.dumps(secret)[1:-1]
    yield from (written, written.replace("/", "\\/"), html.escape(secret))
    numbered = _NUMBERED.sub(lambda found: f"\\u{ord(found[0]):04x}", secret)
    yield from (numbered, _NUMBER.sub(lambda found: f"\\u{found[1].upper()}", numbered))


def _encoded(secret: str) -> Iterator[str]:
    """In Base64, wherever it stands in what was encoded: of that nobody knows the length."""
    data = secret.encode()
    for before in range(3):
        # Characters that have bits of this secret alone.
        first, behind = -(-before * 8 // 6), (before + len(data)) * 8 // 6
        found = base64.b64encode(bytes(before) + data).decode()[first:behind]
        if len(found) >= _ENCODED_MIN:
            yield found
            yield found.replace("+", "-").replace("/", "_")
