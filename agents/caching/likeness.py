"""Likeness of two questions by their words, which say what vectors do not see.

An embedding has much the same vector for a question and its opposite: "Ship the parcel" and "Do not
ship the parcel" have a cosine of 0.97. So two texts are alike only if they have the same numbers,
the same quoted parts, as many negations but for an even number, no words that are opposites, and
the words that they share in the same order. The words are English; of other languages numbers,
quoted parts and the order count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_QUOTED = re.compile(r"\"([^\"]+)\"|“([^”]+)”|«([^»]+)»|„([^“]+)“|`([^`]+)`|(?<!\w)'([^']+)'(?!\w)")
_WORD = re.compile(r"[.+#]?[^\W\d_]+(?:'[^\W\d_]+)*[+#]*")
_NEGATION_WORDS = """
    no not never none nobody nothing neither nor without cannot except unless hardly
"""
#: Words that say nothing of what a question is about.
_COMMON_WORDS = """
    a an the this that these those is are was were be been being am do does did done has have had
    i you he she it we they me him her us them my your his its our their of and or but if as so too
    also just please can could may might shall should will would must what which who whom whose when
    where why how there here very much many some any all about than then with at by for in into
"""
#: Opposites: a text with one of a pair is not like a text with the other one.
_OPPOSITES = """
    on/off enable/disable add/remove allow/deny allow/forbid allow/block open/close start/stop
    begin/end increase/decrease raise/lower raise/reduce up/down more/less most/least max/min
    maximum/minimum buy/sell send/receive import/export lend/borrow before/after first/last
    accept/reject accept/decline approve/reject approve/deny include/exclude login/logout in/out
    hot/cold high/low fast/slow old/new left/right above/below over/under inside/outside win/lose
    true/false yes/no good/bad best/worst cheap/expensive cheapest/dearest safe/dangerous
    public/private lock/unlock show/hide mute/unmute subscribe/unsubscribe install/uninstall
    encrypt/decrypt encode/decode upload/download push/pull read/write save/delete create/delete
    create/destroy keep/delete keep/drop grant/revoke join/leave enter/exit arrive/depart
    arrival/departure early/late always/never ascending/descending input/output
    credit/debit deposit/withdraw profit/loss gain/lose upgrade/downgrade connect/disconnect
    attach/detach publish/unpublish follow/unfollow mount/unmount lengthen/shorten
    positive/negative same/different pass/fail alive/dead male/female won/lost full/empty long/short
    many/few strong/weak older/younger largest/smallest highest/lowest larger/smaller bigger/smaller
    higher/lower faster/slower
"""
_NEGATING = ("un", "in", "im", "ir", "il", "dis", "non", "de", "anti", "mis")
#: What inflection adds to a word.
_ENDINGS = ("ing", "ed", "es", "s", "d", "e", "ly")


_NEGATIONS = frozenset(_NEGATION_WORDS.split())
_COMMON = frozenset(_COMMON_WORDS.split())


@dataclass(frozen=True, slots=True)
class Wording:
    """A question's words, as they are compared."""

    numbers: tuple[str, ...]
    quoted: tuple[str, ...]
    negated: bool
    words: tuple[str, ...]
    particles: frozenset[str]  # common ones of which there is an opposite

    @classmethod
    def of(cls, text: str) -> Wording:
        """The wording of a text."""
        quoted = tuple("".join(parts).casefold() for parts in _QUOTED.findall(text))
        words = [word.casefold() for word in _WORD.findall(text.replace("\u2019", "'"))]
        negations = sum(word in _NEGATIONS or word.endswith("n't") for word in words)
        content = [w for w in words if w not in _COMMON | _NEGATIONS and not w.endswith("n't")]
        return cls(
            tuple(_NUMBER.findall(text)),
            quoted,
            negations % 2 == 1,
            tuple(map(_stem, content)),
            frozenset(words) & (_COMMON | _NEGATIONS) & _POLES.keys(),
        )


def alike(one: str, other: str) -> bool:
    """Return whether nothing in their words says that they need different answers."""
    a, b = Wording.of(one), Wording.of(other)
    if (a.numbers, a.quoted, a.negated) != (b.numbers, b.quoted, b.negated):
        return False
    shared = {*a.words} & {*b.words}
    if [w for w in a.words if w in shared] != [w for w in b.words if w in shared]:
        return False
    only_a, only_b = {*a.words} - shared, {*b.words} - shared
    only_a |= a.particles - b.particles
    only_b |= b.particles - a.particles
    return not any(_opposed(x, y) for x in only_a for y in only_b)


def _opposed(one: str, other: str) -> bool:
    if other in _POLES.get(one, ()):
        return True
    short, long = sorted((one, other), key=len)
    return long == f"{short}less" or any(long == f"{prefix}{short}" for prefix in _NEGATING)


def _stem(word: str) -> str:
    """A word without what inflection adds; no more than comparing needs."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) > 2:  # noqa: PLR2004 - of a stem
            return word.removesuffix(ending)
    return word


def _poles(pairs: Iterable[str]) -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for pair in pairs:
        one, other = pair.split("/")
        for a, b in ((one, other), (other, one)):
            for x in {a, _stem(a)}:
                found.setdefault(x, set()).update({b, _stem(b)})
    return {word: frozenset(others) for word, others in found.items()}


_POLES = _poles(_OPPOSITES.split())
