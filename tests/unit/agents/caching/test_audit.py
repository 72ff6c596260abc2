"""The audit of similar answers."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.caching.audit import Audit, least_share


@pytest.mark.parametrize(
    ("wrong", "of", "bound"), [(0, 0, 0.0), (0, 100, 0.0), (3, 100, 0.0146), (50, 100, 0.4366)]
)
def test_the_bound_is_wilsons(wrong: int, of: int, bound: float) -> None:
    assert least_share(wrong, of) == pytest.approx(bound, abs=2e-4)


@given(st.integers(0, 500), st.integers(0, 500))
def test_the_bound_is_below_what_was_seen(wrong: int, right: int) -> None:
    bound = least_share(wrong, wrong + right)
    assert 0 <= bound <= wrong / max(wrong + right, 1) + 1e-12


def test_it_stays_off() -> None:
    audit = Audit()
    for _ in range(3):
        audit = audit.after(same=False, max_error=0.02, proving=4)
    assert not audit.off
    audit = audit.after(same=True, max_error=0.02, proving=4)
    assert audit.off
    assert Audit.read(audit.compact()) == audit
    for _ in range(1000):
        audit = audit.after(same=True, max_error=0.02, proving=4)
    assert audit.off
    assert Audit.read({}) == Audit()


def test_all_are_compared_at_first_and_then_a_share() -> None:
    audit = Audit(compared=99)
    assert audit.is_due(0.05, 100, 0.9)
    audit = audit.after(same=True, max_error=0.02, proving=4)
    assert audit.is_due(0.05, 100, 0.04)
    assert not audit.is_due(0.05, 100, 0.05)


def test_it_has_to_prove_itself() -> None:
    for wrong, off in ((2, False), (3, True)):
        audit = Audit()
        for n in range(100):
            assert not audit.off
            audit = audit.after(same=n >= wrong, max_error=0.02, proving=100)
        assert audit.off == off


@pytest.mark.parametrize(("error", "least"), [(0.19, 200), (0.13, 200), (0.08, 194)])
def test_a_layer_that_is_wrong_is_off_within_two_hundred_hits(error: float, least: int) -> None:
    """Of 200 streams: whatever is served unasked in 200 hits, a tenth of them at the most is."""
    off = 0
    for seed in range(200):
        rng, audit = random.Random(seed), Audit()
        for _ in range(200):
            if not audit.off and audit.is_due(0.05, 100, rng.random()):
                audit = audit.after(same=rng.random() >= error, max_error=0.02, proving=100)
        off += audit.off
    assert off >= least


def test_a_layer_that_is_right_stays_on() -> None:
    on = 0
    for seed in range(200):
        rng, audit = random.Random(seed), Audit()
        for _ in range(2000):
            if not audit.off and audit.is_due(0.05, 100, rng.random()):
                audit = audit.after(same=rng.random() >= 0.005, max_error=0.02, proving=100)
        on += not audit.off
    assert on >= 180
