"""Keys of cached answers, and what one is worth."""

from __future__ import annotations

import pytest

from agents.caching.cacheable import Caching, worth_usd
from celery_agents.contracts.caching import CachePolicy
from celery_agents.contracts.outcome import Answer, Usage

ABOUT = ["openai", None, {"model": "m", "user": "How?"}]


def key(tenant: str = "", about: object = ABOUT, **policy: object) -> str:
    return Caching("gpt", CachePolicy.model_validate(policy)).of(about).key(tenant)


def test_a_key_is_of_the_whole_request() -> None:
    assert key() == key()
    assert key(about=["openai", None, {"user": "How?", "model": "m"}]) == key()
    assert key(about=["openai", None, {"model": "m", "user": "how?"}]) != key()
    assert key(version="2") != key()
    assert key(ttl_s=5) == key()


def test_an_answer_is_its_tenants_unless_it_is_for_all() -> None:
    assert len({key(), key("a"), key("b"), key(scope="all")}) == 4
    assert key("a", scope="all") == key("b", scope="all") == key(scope="all")


@pytest.mark.parametrize(
    ("cost", "seconds", "worth"), [(0.01, 0, 0.01), (None, 2, 2e-5), (0.0, 0.5, 5e-6)]
)
def test_an_answer_is_worth_its_price_and_its_time(
    cost: float | None, seconds: float, worth: float
) -> None:
    answer = Answer(value=1, usage=Usage(cost_usd=cost))
    assert worth_usd(answer, seconds) == pytest.approx(worth)
