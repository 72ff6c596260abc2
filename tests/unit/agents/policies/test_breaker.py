from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.policies.breaker import (
    BUSY_MS,
    PARTS,
    Breaker,
    BreakerPolicy,
    Standing,
    Verdict,
    ask,
    tell,
    verdict,
)
from celery_agents.contracts.outcome import ErrorInfo

GOOD, BAD, NONE = Verdict.GOOD, Verdict.BAD, Verdict.NONE
CLOSED, OPEN, HALF_OPEN = Standing.CLOSED, Standing.OPEN, Standing.HALF_OPEN
BY_COUNT = BreakerPolicy(failures=3, min_calls=1000, open_s=10)
BY_RATE = BreakerPolicy(failures=1000, rate=0.5, min_calls=4, window_s=10, open_s=10)
CAREFUL = BreakerPolicy(failures=1, probes=2, successes=3, open_s=10, probe_timeout_s=5)


def after(policy: BreakerPolicy, said: list[Verdict], *, step_ms: int = 1) -> Breaker:
    """The record after calls, one after another, that ended so."""
    breaker = Breaker()
    for n, one in enumerate(said):
        now = n * step_ms
        assert ask(policy, breaker, now, f"c{n}").wait is None
        breaker = tell(policy, breaker, now, f"c{n}", one)
    return breaker


@pytest.mark.parametrize(
    ("policy", "said", "standing"),
    [
        (BY_COUNT, [], CLOSED),
        (BY_COUNT, [BAD, BAD], CLOSED),
        (BY_COUNT, [BAD, BAD, BAD], OPEN),
        (BY_COUNT, [BAD, BAD, GOOD, BAD, BAD], CLOSED),  # not in a row
        (BY_COUNT, [BAD, BAD, NONE, BAD], OPEN),  # what says nothing breaks no row
        (BY_COUNT, [NONE] * 50, CLOSED),
        (BY_RATE, [BAD, BAD, BAD], CLOSED),  # too few to tell
        (BY_RATE, [GOOD, BAD, BAD, BAD], OPEN),
        (BY_RATE, [GOOD, GOOD, GOOD, BAD], CLOSED),
        (BY_RATE, [GOOD, GOOD, BAD, BAD], OPEN),  # the share itself is enough
        (BY_RATE, [BAD, BAD, GOOD, GOOD], CLOSED),  # a success opens nothing
    ],
)
def test_opens(policy: BreakerPolicy, said: list[Verdict], standing: Standing) -> None:
    assert after(policy, said).standing is standing


def test_the_window_slides() -> None:
    old = after(BY_RATE, [BAD, BAD, BAD])
    late = 10_000
    assert tell(BY_RATE, old, late - 1, "c", BAD).standing is OPEN
    fresh = tell(BY_RATE, old, late, "c", BAD)
    assert fresh.standing is CLOSED
    assert fresh.window == {PARTS: (0, 1)}
    assert fresh.streak == 4  # the row of failures knows no window


def test_while_open_it_says_how_long() -> None:
    breaker = after(BY_COUNT, [BAD] * 3)
    assert breaker.until == 10_002
    assert ask(BY_COUNT, breaker, 2, "c").wait == 10_000
    assert ask(BY_COUNT, breaker, 10_001, "c").wait == 1
    admitted = ask(BY_COUNT, breaker, 10_002, "c")
    assert (admitted.wait, admitted.breaker.standing) == (None, HALF_OPEN)


def test_half_open_counts_its_probes() -> None:
    breaker = ask(CAREFUL, Breaker(OPEN, until=0), 0, "a").breaker
    breaker = ask(CAREFUL, breaker, 0, "b").breaker
    assert ask(CAREFUL, breaker, 0, "c").wait == BUSY_MS
    assert ask(CAREFUL, breaker, 0, "a").wait is None  # it has its place
    breaker = tell(CAREFUL, breaker, 1, "a", GOOD)
    assert (breaker.standing, breaker.good) == (HALF_OPEN, 1)
    assert ask(CAREFUL, breaker, 1, "c").wait is None


@pytest.mark.parametrize(
    ("said", "standing"),
    [
        ([GOOD, GOOD], HALF_OPEN),
        ([GOOD, GOOD, GOOD], CLOSED),
        ([GOOD, NONE, GOOD, GOOD], CLOSED),
        ([NONE, NONE, NONE, NONE], HALF_OPEN),
        ([GOOD, GOOD, BAD], OPEN),
        ([BAD], OPEN),
    ],
)
def test_probes_decide(said: list[Verdict], standing: Standing) -> None:
    breaker = Breaker(OPEN, until=0)
    for n, one in enumerate(said):
        admitted = ask(CAREFUL, breaker, n, f"c{n}")
        assert admitted.wait is None
        breaker = tell(CAREFUL, admitted.breaker, n, f"c{n}", one)
    assert breaker.standing is standing
    if standing is CLOSED:
        assert breaker == Breaker()


def test_a_probe_whose_worker_died_gives_its_place_away() -> None:
    policy = BreakerPolicy(failures=1, probes=1, probe_timeout_s=5)
    breaker = ask(policy, Breaker(OPEN, until=0), 0, "dead").breaker
    assert ask(policy, breaker, 4_999, "next").wait == BUSY_MS
    admitted = ask(policy, breaker, 5_000, "next")
    assert (admitted.wait, list(admitted.breaker.probes)) == (None, ["next"])


@pytest.mark.parametrize("said", list(Verdict))
@pytest.mark.parametrize("breaker", [Breaker(OPEN, until=99), Breaker(HALF_OPEN)])
def test_calls_from_before_say_nothing(breaker: Breaker, said: Verdict) -> None:
    assert tell(CAREFUL, breaker, 1, "stranger", said) == breaker


@pytest.mark.parametrize(
    ("kind", "elapsed_s", "said"),
    [
        (None, 0, GOOD),
        ("unavailable", 0, BAD),
        ("bad_answer", 0, BAD),
        ("timeout", 2, BAD),
        ("timeout", 0.5, NONE),  # the caller's haste
        ("rate_limited", 9, NONE),
        ("invalid_payload", 9, NONE),
        ("cancelled", 9, NONE),
        ("breaker_open", 9, NONE),
        ("refused", 9, NONE),
    ],
)
def test_verdicts(kind: str | None, elapsed_s: float, said: Verdict) -> None:
    error = None if kind is None else ErrorInfo(kind=kind, message="")
    assert verdict(BreakerPolicy(), error, elapsed_s=elapsed_s) is said


policies = st.builds(
    BreakerPolicy,
    failures=st.integers(1, 4),
    rate=st.sampled_from([0.25, 0.5, 1.0]),
    min_calls=st.integers(1, 6),
    window_s=st.sampled_from([0.1, 1.0]),
    open_s=st.sampled_from([0.05, 0.5]),
    probes=st.integers(1, 3),
    successes=st.integers(1, 3),
    probe_timeout_s=st.sampled_from([0.1, 1.0]),
)
#: What happens next: milliseconds pass, then a call is asked for, or one of some age is told.
happenings = st.lists(
    st.tuples(st.integers(0, 120), st.sampled_from(["ask", *Verdict]), st.integers(0, 5)),
    max_size=60,
)


@given(policies, happenings)
def test_never_more_probes_than_places(policy: BreakerPolicy, what: list[Any]) -> None:
    breaker, now, out, n = Breaker(), 0, [], 0
    for pause, act, which in what:
        now += pause
        if act == "ask":
            n += 1
            admitted = ask(policy, breaker, now, f"c{n}")
            breaker = admitted.breaker
            refused = admitted.wait is not None
            assert not (breaker.standing is CLOSED and refused)
            if breaker.standing is OPEN:
                assert refused
                assert 0 < (admitted.wait or 0) <= policy.open_s * 1000
            if not refused:
                out.append(f"c{n}")
        elif out:
            breaker = tell(policy, breaker, now, out.pop(which % len(out)), act)
        under_way = [c for c, until in breaker.probes.items() if until > now]
        assert len(under_way) <= policy.probes
        assert not breaker.probes or breaker.standing is HALF_OPEN
        assert breaker.good < policy.successes
        assert breaker.streak < policy.failures


@given(policies, happenings, st.sampled_from([GOOD, NONE]))
def test_what_ends_well_and_was_no_probe_changes_no_standing(
    policy: BreakerPolicy, what: list[Any], said: Verdict
) -> None:
    breaker, now, n = Breaker(), 0, 0
    for pause, act, which in what:
        now += pause
        n += act == "ask"
        if act == "ask":
            breaker = ask(policy, breaker, now, f"c{n}").breaker
        else:
            breaker = tell(policy, breaker, now, f"c{n - which}", act)
        assert tell(policy, breaker, now, "no probe", said).standing is breaker.standing
