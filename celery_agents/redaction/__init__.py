"""Texts made safe to show: passwords, keys and tokens are replaced, in linear time.

A text is cut before it is searched, so that what is shown bounds the work, not what came in. The
patterns never go back over what they have read: what repeats without a bound is possessive, and all
that may fail after it has a bound (a test takes the patterns apart and holds them to that). A group
is repeated in an atomic one, ``(?>(…)*)``: before Python 3.11.5, ``(…)*+`` matches wrongly if the
group holds a choice (gh-106052).
"""

from __future__ import annotations

from functools import lru_cache

from celery_agents.redaction.addresses import hide_in_addresses
from celery_agents.redaction.judging import HIDDEN
from celery_agents.redaction.looks import hide_blocks, hide_looks
from celery_agents.redaction.named import hide_named
from celery_agents.values import storable

#: Characters that are shown, unless the caller says otherwise, and at the most.
LIMIT, MOST = 2_000, 20_000
#: Characters searched beyond those shown: what is hidden makes room for some of them.
_BEYOND, _TIMES = 1_024, 3
#: Characters dropped where a text was cut: what is left of a secret there may look like none.
_EDGE = 64
#: A single word that is shorter is no key, and names nothing.
_SHORT = 12
#: Words that are longer are cut.
_WORD = 256
#: Texts that are no longer are remembered: names, options and ids are shown again and again.
_REMEMBERED, _TEXTS = 256, 4_096


def redact(text: object, *, limit: int = LIMIT) -> str:
    """Text that may be shown and stored anywhere, cut at ``limit`` characters.

    Passwords, keys and tokens are replaced, and what no store takes.
    """
    whole = text if type(text) is str else str(text)
    if len(whole) < _SHORT and whole.isalnum():
        return whole if len(whole) <= limit else f"{whole[: limit - 1]}…"
    limit = min(limit, MOST)
    reach = limit + min(_BEYOND, _TIMES * limit)
    if len(whole) <= reach:
        clean = (_remembered if len(whole) <= _REMEMBERED else _clean)(whole)
        return clean if len(clean) <= limit else f"{clean[: limit - 1]}…"
    hidden = _hidden(head(whole, reach))
    edge = 0 if hidden.endswith(HIDDEN) else min(_EDGE, len(hidden) // 2)
    return f"{storable(hidden[: len(hidden) - edge])[: limit - 1]}…"


def clause(error: object) -> str:
    r"""A library's error within a sentence of ours: redacted, one line, without its last stop.

    >>> clause("Connection refused\n\tIs the server running?")
    'Connection refused Is the server running'
    """
    return " ".join(redact(error).split()).rstrip(" .?")


def _clean(text: str) -> str:
    return storable(_hidden(text))


_remembered = lru_cache(maxsize=_TEXTS)(_clean)


def head(text: str, length: int) -> str:
    """The first characters, without the word that the cut went through, if it is no long one."""
    if len(text) <= length:
        return text
    end = max(text.rfind(blank, max(0, length - _WORD), length) for blank in " \n\t")
    return text[: end if end > 0 else length]


def _hidden(text: str) -> str:
    return hide_looks(hide_in_addresses(hide_named(hide_blocks(text))))
