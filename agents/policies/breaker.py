"""Circuit breakers: when an agent that keeps failing is left alone for a while.

The policy is a value and the transitions are pure functions of a breaker's record and the time;
the Lua of ``app/admission/breaker.py`` does the same inside Redis, for all workers at once, and a
test holds the two together. After M. Nygard, "Release It!", 2007, with a failure rate over a
sliding window.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from celery_agents.contracts.base import Contract, Seconds
from celery_agents.contracts.outcome import ErrorInfo

#: The window is counted in so many parts, so it slides in steps of a tenth.
PARTS = 10
#: How soon to come again when all probes are out: one of them may end at any moment.
BUSY_MS = 1000


class BreakerPolicy(Contract):
    """When a breaker opens, and how it finds out that it may close.

    It opens after ``failures`` in a row, or when of at least ``min_calls`` in ``window_s`` a share
    of ``rate`` failed. ``open_s`` later it is half open: at most ``probes`` calls at once, of which
    ``successes`` close it and one failure opens it again.

    ``counts`` are the kinds of errors that speak against the agent: it is down, too slow, or
    answers nonsense. Being rate limited does not: it works, and says itself when to come again.
    """

    failures: Annotated[int, Field(ge=1, le=10_000)] = 5
    rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    min_calls: Annotated[int, Field(ge=1, le=100_000)] = 20
    window_s: Annotated[float, Field(ge=0.1, le=24 * 3600)] = 60.0
    open_s: Annotated[float, Field(ge=0.01, le=24 * 3600)] = 30.0
    probes: Annotated[int, Field(ge=1, le=1000)] = 1
    successes: Annotated[int, Field(ge=1, le=1000)] = 1
    #: A probe that told nothing for so long (its worker died) gives its place away.
    probe_timeout_s: Seconds = 120.0
    counts: tuple[str, ...] = ("unavailable", "timeout", "bad_answer")
    #: A call that was cut off sooner than this says more about the caller's haste.
    min_timeout_s: Annotated[float, Field(ge=0, le=3600)] = 1.0


class Verdict(StrEnum):
    """A call's testimony about the agent."""

    GOOD = "good"
    BAD = "bad"
    NONE = "none"  # cancelled, refused, the caller's mistake


class Standing(StrEnum):
    """The state of a breaker: which calls it lets through."""

    CLOSED = "closed"  # all of them
    OPEN = "open"  # none
    HALF_OPEN = "half_open"  # a few, as probes


@dataclass(frozen=True, slots=True)
class Breaker:
    """A breaker's record. Times are milliseconds, as Redis keeps them."""

    standing: Standing = Standing.CLOSED
    until: int = 0  # open: until then
    streak: int = 0  # failures in a row
    good: int = 0  # successes while half open
    window: Mapping[int, tuple[int, int]] = field(default_factory=dict)  # part: good, bad
    probes: Mapping[str, int] = field(default_factory=dict)  # call: when its place is free again


def recorded(text: str | bytes | None, now_s: float) -> Standing:
    """The standing that a record in Redis says, as ``app/admission/breaker.py`` writes it."""
    if text is None:
        return Standing.CLOSED
    told = json.loads(text)
    standing = Standing(told["s"])
    over = standing is Standing.OPEN and told["u"] <= now_s * 1000
    return Standing.HALF_OPEN if over else standing


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to "may I call?": None, or milliseconds to wait."""

    breaker: Breaker
    wait: int | None = None


def verdict(policy: BreakerPolicy, error: ErrorInfo | None, *, elapsed_s: float) -> Verdict:
    """Judge the agent by a call that ended so."""
    if error is None:
        return Verdict.GOOD
    hasty = error.kind == "timeout" and elapsed_s < policy.min_timeout_s
    return Verdict.BAD if error.kind in policy.counts and not hasty else Verdict.NONE


def ask(policy: BreakerPolicy, breaker: Breaker, now: int, call: str) -> Admission:
    """May this call be made? A half-open breaker gives it a place among its probes."""
    if breaker.standing is Standing.CLOSED:
        return Admission(breaker)
    if breaker.standing is Standing.OPEN:
        if now < breaker.until:
            return Admission(breaker, breaker.until - now)
        breaker = Breaker(Standing.HALF_OPEN)
    out = {c: until for c, until in breaker.probes.items() if until > now}
    if call not in out and len(out) >= policy.probes:
        return Admission(replace(breaker, probes=out), BUSY_MS)
    out[call] = now + _ms(policy.probe_timeout_s)
    return Admission(replace(breaker, probes=out))


def tell(policy: BreakerPolicy, breaker: Breaker, now: int, call: str, said: Verdict) -> Breaker:
    """The record after this call. What was called before a breaker opened no longer matters."""
    match breaker.standing:
        case Standing.CLOSED:
            return _counted(policy, breaker, now, said)
        case Standing.HALF_OPEN if call in breaker.probes:
            return _probed(policy, breaker, now, call, said)
        case _:
            return breaker


def _counted(policy: BreakerPolicy, breaker: Breaker, now: int, said: Verdict) -> Breaker:
    if said is Verdict.NONE:
        return breaker
    part = now * PARTS // _ms(policy.window_s)
    window = {p: counts for p, counts in breaker.window.items() if p > part - PARTS}
    good, bad = window.get(part, (0, 0))
    window[part] = (good + 1, bad) if said is Verdict.GOOD else (good, bad + 1)
    streak = 0 if said is Verdict.GOOD else breaker.streak + 1
    failed = sum(b for _, b in window.values())
    calls = failed + sum(g for g, _ in window.values())
    often = calls >= policy.min_calls and failed >= policy.rate * calls
    if said is Verdict.BAD and (streak >= policy.failures or often):
        return _opened(policy, now)
    return Breaker(streak=streak, window=window)


def _probed(policy: BreakerPolicy, breaker: Breaker, now: int, call: str, said: Verdict) -> Breaker:
    if said is Verdict.BAD:
        return _opened(policy, now)
    good = breaker.good + (said is Verdict.GOOD)
    if good >= policy.successes:
        return Breaker()
    return replace(
        breaker, good=good, probes={c: u for c, u in breaker.probes.items() if c != call}
    )


def _opened(policy: BreakerPolicy, now: int) -> Breaker:
    return Breaker(Standing.OPEN, until=now + _ms(policy.open_s))


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
