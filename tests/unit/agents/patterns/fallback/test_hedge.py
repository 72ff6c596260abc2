from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.patterns.fallback.hedge import (
    Digest,
    Hedges,
    count_hedge,
    count_request,
    delay_s,
    may_hedge,
    observe,
    quantile,
)
from celery_agents.contracts.fallback import Hedge


def digest_of(latencies: list[float], half_life: float = 100_000) -> Digest:
    digest = Digest()
    for latency in latencies:
        digest = observe(digest, latency, half_life=half_life)
    return digest


@given(st.lists(st.floats(0.002, 1000), min_size=1, max_size=60), st.floats(0.05, 0.99))
def test_quantiles_are_right_within_a_bucket(latencies: list[float], q: float) -> None:
    found = quantile(digest_of(latencies), q)
    assert found is not None
    below = sum(one <= found * 1.0001 for one in latencies)
    assert below >= q * len(latencies) - 0.1
    smaller = sum(one <= found / 1.1001 for one in latencies)
    assert smaller <= q * len(latencies) + 0.1


def test_p95_of_a_known_distribution() -> None:
    rng = random.Random(5)
    digest = digest_of([rng.expovariate(1.0) for _ in range(4000)])
    assert quantile(digest, 0.95) == pytest.approx(3.0, rel=0.15)


def test_it_forgets_and_stays_small() -> None:
    digest = digest_of([10.0] * 500 + [0.1] * 400, half_life=50)
    assert quantile(digest, 0.95) == pytest.approx(0.1, rel=0.11)
    rng = random.Random(1)
    wide = digest_of([10 ** rng.uniform(-6, 9) for _ in range(3000)])
    assert len(wide.weights) <= 192


def test_no_latencies_no_quantile() -> None:
    assert quantile(Digest(), 0.95) is None


def test_the_delay_is_the_setting_until_enough_is_known() -> None:
    settings = Hedge(delay_s=7, min_samples=20)
    assert delay_s(Digest(), settings) == 7
    assert delay_s(digest_of([1.0] * 19), settings) == 7
    assert delay_s(digest_of([1.0] * 21), settings) == pytest.approx(1.0, rel=0.11)
    # With a short half-life the decayed count never reaches a high minimum; it must not wait.
    eager = Hedge(min_samples=1000, half_life=10)
    assert delay_s(digest_of([1.0] * 200, half_life=10), eager) == pytest.approx(1.0, rel=0.11)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.5, 1.0])
def test_hedges_keep_within_their_share(share: float) -> None:
    settings, counts, hedges = Hedge(share=share), Hedges(), 0
    for request in range(1, 3001):
        counts = count_request(counts, settings)
        if may_hedge(counts, settings):
            counts, hedges = count_hedge(counts), hedges + 1
        assert hedges <= share * request + 1e-9
    assert hedges >= 0.9 * share * 3000
