"""Limits: what may be asked now, as pure functions of records and a time.

A *want* is one limit as one request meets it. All wants of a request are checked before any is
written, so one that is refused by one limit leaves the others as they were. The Lua of
``app/admission/limits/lua/`` does the same inside Redis, and a test holds the two together.

Rates are kept as GCRA (ITU-T I.371) has them: one number, the time at which all that was taken will
have been paid off. Requests cost units, and what they did not use is given back afterwards.
Times are milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

#: Requests at once to a provider that has not told its limits yet, at first and at the most.
UNKNOWN_AT_ONCE, UNKNOWN_MOST = 8, 10_000
#: Among what is learned: how many at once a provider bears that tells nothing, and whether that was
#: too much before.
WINDOW, REFUSED = "window", "refused"


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing passes until the pause under this key is over."""

    key: str


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most so many at once."""

    key: str
    most: int


@dataclass(frozen=True, slots=True)
class Rate:
    """A unit takes ``unit_ms``, and ``burst_ms`` of them may be taken ahead."""

    key: str
    burst_ms: float
    unit_ms: float
    cost: int


@dataclass(frozen=True, slots=True)
class ToldRate:
    """A rate that the provider tells; until it does, one that lets everything pass."""

    key: str
    source: str  # the record of what it told
    what: str  # which of its numbers
    burst_s: float
    cost: int


@dataclass(frozen=True, slots=True)
class Start:
    """A few at once, as long as the provider has told no limits.

    As many more as it answers; half as many when it refuses ("congestion avoidance", V. Jacobson,
    1988).
    """

    key: str
    source: str


Want = Pause | Concurrency | Rate | ToldRate | Start


@dataclass(frozen=True, slots=True)
class Book:
    """The records of all limits."""

    paused: Mapping[str, float] = field(default_factory=dict)  # until then
    holds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # by whom, until then
    taken: Mapping[str, float] = field(default_factory=dict)  # when it is paid off
    sent: Mapping[str, float] = field(default_factory=dict)  # the same, of what has gone out
    learned: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # units a minute


@dataclass(frozen=True, slots=True)
class Denial:
    """The want that refused, by its place, and milliseconds until it may not; None: unknown."""

    place: int
    wait_ms: float | None


def burst_ms(unit_ms: float, burst_s: float) -> float:
    """Milliseconds that may be taken ahead: one unit at the least."""
    return max(unit_ms, burst_s * 1000)


def rate_of(want: ToldRate, book: Book) -> Rate | None:
    """The rate that a provider has told; None while it has not."""
    told = book.learned.get(want.source, {}).get(want.what)
    if not told:
        return None
    unit_ms = 60_000 / told
    return Rate(want.key, burst_ms(unit_ms, want.burst_s), unit_ms, want.cost)


def at_once(want: Start, book: Book) -> int | None:
    """How many may be under way; None: what the provider tells holds instead."""
    told = book.learned.get(want.source, {})
    if told.keys() - {WINDOW, REFUSED}:
        return None
    return math.floor(told.get(WINDOW, UNKNOWN_AT_ONCE))


def answered(book: Book, source: str) -> Book:
    """Let more pass at once, since a provider that tells no limits has answered."""
    told = book.learned.get(source, {})
    window = told.get(WINDOW, UNKNOWN_AT_ONCE)
    grown = min(window + (1 / window if REFUSED in told else 1), UNKNOWN_MOST)
    return replace(book, learned={**book.learned, source: {**told, WINDOW: grown}})


def refused(book: Book, source: str, now: float) -> Book:
    """Let half as many pass at once; of refusals that come together the first one counts."""
    if book.paused.get(source, 0.0) > now:
        return book
    told = book.learned.get(source, {})
    half = max(told.get(WINDOW, UNKNOWN_AT_ONCE) / 2, 1.0)
    return replace(book, learned={**book.learned, source: {**told, WINDOW: half, REFUSED: 1.0}})


def ask(
    book: Book, wants: Sequence[Want], who: str, now: float, lease_ms: float
) -> tuple[Book, Denial | None]:
    """Take what is wanted, all of it or nothing. A slot is held for ``lease_ms``."""
    for place, want in enumerate(wants):
        if (refused := _refused(book, want, who, now)) is not None:
            return book, Denial(place, refused if refused >= 0 else None)
    for want in wants:
        book = _taken(book, want, who, now, lease_ms)
    return book, None


def send(book: Book, wants: Sequence[Want], now: float) -> tuple[Book, float]:
    """Count what goes out now; the milliseconds by which it would come too early.

    It was admitted at its rate, but time has passed since then: more of them may come together than
    the burst of the other side.
    """
    early, sent = 0.0, dict(book.sent)
    for want in wants:
        rate = rate_of(want, book) if isinstance(want, ToldRate) else want
        if isinstance(rate, Rate):
            takes = rate.cost * rate.unit_ms
            sent[rate.key] = max(sent.get(rate.key, 0.0), now) + takes
            early = max(early, sent[rate.key] - now - max(rate.burst_ms, takes))
    return replace(book, sent=sent), early


def settle(
    book: Book, wants: Sequence[Want], who: str, now: float, used: Mapping[str, int]
) -> Book:
    """Free the slots, and count what was really used: by the key of a rate, else its cost."""
    for want in wants:
        match want:
            case Concurrency() | Start():
                held = {w: t for w, t in book.holds.get(want.key, {}).items() if w != who}
                book = replace(book, holds={**book.holds, want.key: held})
            case Rate():
                book = _corrected(book, want, now, used.get(want.key, want.cost) - want.cost)
            case ToldRate() if (rate := rate_of(want, book)) is not None:
                book = _corrected(book, rate, now, used.get(want.key, want.cost) - want.cost)
            case _:
                pass
    return book


def pause(book: Book, key: str, until: float) -> Book:
    """Close a key until then; a pause that lasts longer stays."""
    return replace(book, paused={**book.paused, key: max(until, book.paused.get(key, 0.0))})


def resume(book: Book, key: str) -> Book:
    """Open a key."""
    return replace(book, paused={k: t for k, t in book.paused.items() if k != key})


def lower(book: Book, rate: Rate, remaining: float, now: float, elapsed_ms: float = 0.0) -> Book:
    """Leave no more than the other side says is left; where less is, that stays.

    It said so up to ``elapsed_ms`` ago, and what has come since then is there too.
    """
    level = now + rate.burst_ms - remaining * rate.unit_ms - elapsed_ms
    if level <= max(book.taken.get(rate.key, 0.0), now):
        return book
    return replace(book, taken={**book.taken, rate.key: level})


def _refused(book: Book, want: Want, who: str, now: float) -> float | None:
    """Milliseconds to wait, -1 for how long nobody knows; None: it fits."""
    match want:
        case Pause():
            left = book.paused.get(want.key, 0.0) - now
            return left if left > 0 else None
        case Concurrency():
            return _full(book, want.key, who, now, want.most)
        case Start():
            most = at_once(want, book)
            return None if most is None else _full(book, want.key, who, now, most)
        case ToldRate():
            rate = rate_of(want, book)
            return None if rate is None else _refused(book, rate, who, now)
        case Rate():
            paid_off = max(book.taken.get(want.key, 0.0), now)
            takes = want.cost * want.unit_ms
            # More than the whole burst passes alone, once all else is paid off.
            wait = paid_off + min(takes, want.burst_ms) - now - want.burst_ms
            return wait if wait > 0 else None


def _full(book: Book, key: str, who: str, now: float, most: int) -> float | None:
    alive = {w for w, until in book.holds.get(key, {}).items() if until > now}
    return -1 if len(alive) >= most and who not in alive else None


def _taken(book: Book, want: Want, who: str, now: float, lease_ms: float) -> Book:
    match want:
        case Concurrency() | Start():
            if isinstance(want, Start) and at_once(want, book) is None:
                return book
            held = {**book.holds.get(want.key, {}), who: now + lease_ms}
            return replace(book, holds={**book.holds, want.key: held})
        case ToldRate():
            rate = rate_of(want, book)
            return book if rate is None else _taken(book, rate, who, now, lease_ms)
        case Rate():
            paid_off = max(book.taken.get(want.key, 0.0), now) + want.cost * want.unit_ms
            return replace(book, taken={**book.taken, want.key: paid_off})
        case _:
            return book


def _corrected(book: Book, rate: Rate, now: float, by: int) -> Book:
    """The records after a correction; giving back more than is owed is nothing."""
    taken = _moved(book.taken, rate, now, by)
    return replace(book, taken=taken, sent=_moved(book.sent, rate, now, by))


def _moved(owed: Mapping[str, float], rate: Rate, now: float, by: int) -> Mapping[str, float]:
    paid_off = owed.get(rate.key, 0.0)
    if by > 0:
        paid_off = max(paid_off, now)
    elif paid_off <= now:
        return owed
    return {**owed, rate.key: paid_off + by * rate.unit_ms}
