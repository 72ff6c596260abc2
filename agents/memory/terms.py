"""Terms of texts: words by their stems, pairs of signs of scripts that have no spaces.

Stems are those of Snowball (M. Porter, "Snowball: A language for stemming algorithms", 2001).
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

from agents.memory.importance import words
from celery_agents.errors import ConfigurationError

#: Of English words those that stand in most texts and tell nothing apart.
_ENGLISH = """
a about after again all also am an and any are as at be because been before being but by can could d
did do does doing done down for from further get got had has have having he her here hers him his
how i if in into is it its just ll m me more most my myself no nor not now of off on once only or
other our ours out over own re s same she should so some such t than that the their theirs them then
there these they this those through to too under until up ve very was we were what when where which
while who whom why will with would you your yours
"""
_STOP: dict[str, frozenset[str]] = {"english": frozenset(_ENGLISH.split())}
#: A term that is longer is cut: nobody looks for the rest.
_LONGEST = 40
#: How often a term counts at the most in one text: keeps sums within 64 bits.
_OFTEN = 255
#: Bytes of a keyed term: two of a million collide with a chance of 10^-12.
_KEYED_BYTES = 12


def terms_of(text: str, language: str) -> Counter[str]:
    """Return the terms of a text, with how often each occurs there.

    Raises:
        ConfigurationError: there are no stems of that language.
    """
    stop = _STOP.get(language, frozenset())
    stem = _stemming(language)
    found = Counter(stem(word)[:_LONGEST] for word in words(text) if word not in stop)
    if not found:  # of a question of stop words alone they are all that there is
        found = Counter(stem(word)[:_LONGEST] for word in words(text))
    return Counter({term: min(times, _OFTEN) for term, times in found.items()})


@lru_cache(maxsize=8)
def _stemming(language: str) -> Callable[[str], str]:
    if not language:
        return str
    import snowballstemmer

    try:
        stemmer = snowballstemmer.stemmer(language)
    except KeyError:
        known = ", ".join(sorted(snowballstemmer.algorithms()))
        raise ConfigurationError(f"language: {language!r} is none of {known}.") from None
    stem: Callable[[str], str] = stemmer.stemWord
    return lru_cache(maxsize=50_000)(stem)


def check_language(language: str) -> None:
    """Look whether there are stems of a language. Raises as :func:`terms_of`."""
    _stemming(language)


def keyed(term: str, key: bytes) -> str:
    """A term as an encrypted space has it: whoever has no key learns no word of it."""
    return hmac.digest(key, term.encode(), hashlib.sha256)[:_KEYED_BYTES].hex()
