from __future__ import annotations

from typing import Any

import pytest

from agents.governance import wants
from agents.governance.estimate import expected
from agents.governance.limits import Concurrency, Pause, Rate, Start, ToldRate
from agents.governance.sizes import Sizes
from agents.governance.wants import About
from agents.needs import Needs
from celery_agents.contracts.limits import LimitPolicy

GPT = About("gpt", "openai", "provider:openai", "provider:openai#KEY_A", "acme", "run-1")
SERVICE = About("service", "http", None, "agent:service")


@pytest.mark.parametrize(
    ("covers", "gpt", "service"),
    [
        ((), True, False),
        (("provider:openai",), True, False),
        (("agent:service",), False, True),
        (("kind:http", "agent:gpt"), True, True),
        (("provider:openai@other",), False, False),
    ],
)
def test_a_limit_says_what_it_covers(covers: tuple[str, ...], gpt: bool, service: bool) -> None:
    policy = LimitPolicy(covers=covers, concurrent=1)
    assert (wants.covers(policy, GPT), wants.covers(policy, SERVICE)) == (gpt, service)


@pytest.mark.parametrize(
    ("per", "name"),
    [
        (None, "x"),
        ("tenant", "x:acme"),
        ("agent", "x:gpt"),
        ("run", "x:run-1"),
        ("key", "x:provider:openai#KEY_A"),
    ],
)
def test_each_has_a_limit_of_its_own(per: Any, name: str) -> None:
    assert wants.instance("x", LimitPolicy(per=per, concurrent=1), GPT) == name


def test_pauses_come_first_then_slots_then_rates() -> None:
    policies = {
        "a": LimitPolicy(requests_per_minute=60, input_tokens_per_minute=6000),
        "b": LimitPolicy(concurrent=3, tokens_per_minute=600_000, burst_s=1.0),
    }
    found = wants.wanted(policies, GPT, Needs(30, 12))
    assert [(w.limit, w.want, w.what) for w in found] == [
        ("provider:openai#KEY_A", Pause("provider:openai#KEY_A"), None),
        ("a", Pause("limit:a"), None),
        ("b", Pause("limit:b"), None),
        ("b", Concurrency("b", 3), None),
        ("a", Rate("requests:a", 1000.0, 1000.0, 1), "requests"),
        ("a", Rate("input:a", 6000.0, 10.0, 30), "input"),
        ("b", Rate("tokens:b", 1000.0, 0.1, 42), "tokens"),
    ]
    assert wants.corrections(found, Needs(35, 1)) == [0, 0, 0, 0, 0, 5, -6]
    assert wants.corrections(found, None) == [0, 0, 0, 0, -1, -30, -42]


def test_what_is_not_given_is_learned_of_the_key() -> None:
    policy = LimitPolicy(learn=True, tokens_per_minute=60_000)
    found = [w.want for w in wants.wanted({"x": policy}, GPT, Needs(1, 2))]
    account, own = "provider:openai#KEY_A", "x:provider:openai#KEY_A"
    assert found[2:] == [
        Start(own, account),
        ToldRate(f"requests:{own}", account, "requests", 0.5, 1),
        Rate(f"tokens:{own}", 6000.0, 1.0, 3),
        ToldRate(f"input:{own}", account, "input", 6.0, 1),
        ToldRate(f"output:{own}", account, "output", 6.0, 2),
    ]


@pytest.mark.parametrize(
    ("texts", "tokens"),
    [
        ([], 1),
        (["", ""], 1),
        (["quick brown foxes"], 2),
        (["quick", "brown", "", "foxes"], 4),  # two ends of lines more
        (["\u65e5\u672c\u8a9e" * 10], 30),
    ],
)
def test_a_request_is_expected_to_take_what_is_likely_of_its_texts(
    texts: list[str], tokens: int
) -> None:
    """As sessions and estimates count before anything was learned, and as long an answer."""
    assert expected(texts) == Needs(tokens, Sizes().output(None)) == Needs(tokens, 1_000)
