from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from celery_agents.contracts.policies import RetryPolicy

policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 100),
    base_delay_s=st.floats(0, 3600),
    max_delay_s=st.floats(0, 86400),
    max_retry_after_s=st.floats(0, 86400),
)
seeds = st.integers(0, 2**32).map(random.Random)


@given(policies, st.integers(1, 100), seeds)
def test_the_wait_is_bounded_by_the_backoff(
    policy: RetryPolicy, attempt: int, rng: random.Random
) -> None:
    found = policy.delay_s(attempt, rng=rng)
    if attempt >= policy.max_attempts:
        assert found is None
    else:
        assert found is not None
        ceiling = min(policy.max_delay_s, policy.base_delay_s * 2.0 ** (attempt - 1))
        assert 0 <= found <= ceiling


@given(policies, st.integers(1, 98), seeds, st.floats(-10, 1e9))
def test_retry_after_is_a_lower_bound_that_is_bounded_itself(
    policy: RetryPolicy, attempt: int, rng: random.Random, asked_s: float
) -> None:
    found = policy.delay_s(attempt, rng=rng, retry_after_s=asked_s)
    if found is not None:
        least = min(max(asked_s, 0), policy.max_retry_after_s)
        assert least <= found <= least + policy.max_delay_s


@given(policies, st.integers(1, 10**6), seeds, st.none() | st.floats(-10, 1e9), st.floats(-5, 1e5))
def test_a_refusal_waits_as_it_is_told_and_within_what_is_left(
    policy: RetryPolicy, tries: int, rng: random.Random, asked_s: float | None, within_s: float
) -> None:
    found = policy.refused_delay_s(tries, rng=rng, retry_after_s=asked_s, within_s=within_s)
    least = min(max(asked_s or 0, 0), policy.max_retry_after_s)
    if within_s <= least:
        assert found is None
    else:
        assert found is not None
        assert least <= found <= max(within_s, least)
        assert found <= least + max(policy.max_delay_s, 10)


def test_refusals_are_spread_even_without_a_backoff() -> None:
    """Nothing bounds their number, so they must not come again at once."""
    policy, rng = RetryPolicy(base_delay_s=0, max_delay_s=0), random.Random(1)
    waits = [
        policy.refused_delay_s(20, rng=rng, retry_after_s=None, within_s=1e6) or 0
        for _ in range(2_000)
    ]
    assert sum(waits) / len(waits) == pytest.approx(5, abs=0.5)


def test_jitter_fills_the_whole_range() -> None:
    policy, rng = RetryPolicy(base_delay_s=1, max_delay_s=4, max_attempts=9), random.Random(1)
    waits = [policy.delay_s(8, rng=rng) or 0 for _ in range(2_000)]
    assert min(waits) < 0.1
    assert max(waits) > 3.9
    assert sum(waits) / len(waits) == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize(
    "wrong",
    [{"max_attempts": 0}, {"max_attempts": 101}, {"base_delay_s": -1}, {"max_delay_s": 86401}],
)
def test_values_of_no_use_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        RetryPolicy.model_validate(wrong)
