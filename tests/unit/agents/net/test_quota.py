"""What the providers answer with HTTP 429, in their own words: what passes, and what does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.net.quota import is_lasting
from tests.support.drawn import costly

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)


def openai(message: str, code: Any = "rate_limit_exceeded", kind: str | None = "tokens") -> Any:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def anthropic(message: str, kind: str = "rate_limit_error") -> Any:
    return {"type": "error", "error": {"type": kind, "message": message}}


GOOGLES = "You exceeded your current quota, please check your plan and billing details."


def google(*limits: str, message: str = GOOGLES, value: str = "20") -> Any:
    violations = [
        {
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
            "quotaId": limit,
            "quotaValue": value,
        }
        for limit in limits
    ]
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "39s"},
    ]
    error = {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details}
    return {"error": error}


PASSES = {
    "OpenAI, tokens": openai(
        "Rate limit reached for gpt-5 in organization org-x on tokens per min (TPM): Limit 30000, "
        "Used 29000, Requested 2000. Please try again in 2s."
    ),
    "OpenAI, requests": openai("Rate limit reached on requests per min (RPM): Limit 3, Used 3."),
    "Azure": openai(
        "Requests to the ChatCompletions_Create Operation have exceeded call rate limit of your "
        "current OpenAI S0 pricing tier. Please retry after 6 seconds.",
        "429",
        None,
    ),
    "Mistral": {"object": "error", "message": "Requests rate limit exceeded", "code": "1300"},
    "OpenRouter": openai("Provider returned error", 429, None),
    "Cerebras": openai("Tokens per minute limit exceeded - too many tokens processed."),
    "GitHub, minute": openai("Rate limit of 10 per 60s exceeded for UserByModelByMinute."),
    "Anthropic": anthropic(
        "This request would exceed your organization's rate limit of 50,000 input tokens per "
        "minute. For details, refer to: https://docs.anthropic.com/en/api/rate-limits"
    ),
    "Anthropic, acceleration": anthropic("Number of requests has exceeded your rate limit."),
    "Google, minute": google("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"),
    "Google, tokens": google("GenerateContentInputTokensPerModelPerMinute-FreeTier"),
    "Google, Vertex": google(message="Resource exhausted. Please try again later."),
    "Google, by OpenAI's protocol": [google("GenerateRequestsPerMinutePerProjectPerModel")],
    "text": "slow down",
    "nothing": None,
    "an empty object": {},
}

LASTS = {
    "OpenAI, no credit": openai(GOOGLES, "insufficient_quota", "insufficient_quota"),
    "OpenAI, type alone": openai("m", None, "insufficient_quota"),
    "OpenAI, account": openai("Your account is not active.", "billing_not_active", None),
    "OpenAI, limit set": openai("Billing hard limit reached", "billing_hard_limit_reached"),
    "OpenAI, day": openai(
        "Rate limit reached for gpt-5 in organization org-x on requests per day (RPD): Limit 200, "
        "Used 200, Requested 1. Please try again in 7m12s."
    ),
    "Groq, day": openai("Rate limit reached for model on tokens per day (TPD): Limit 100000."),
    "OpenRouter, day": openai("Rate limit exceeded: free-models-per-day. Add 10 credits.", 429),
    "GitHub, day": openai("Rate limit of 150 per 86400s exceeded for UserByModelByDay."),
    "Cerebras, day": openai("Requests per day limit exceeded", "request_quota_exceeded", None),
    "Moonshot": openai("Your account is suspended", None, "exceeded_current_quota_error"),
    "DeepSeek": openai("Insufficient Balance", "invalid_request_error", "unknown_error"),
    "xAI": openai("Your team has reached its monthly spending limit.", None, None),
    "LiteLLM": openai("Budget has been exceeded!", "429", "budget_exceeded"),
    "inner code alone": {"message": "m", "code": "insufficient_quota"},
    "a proxy's words": openai(GOOGLES, None, None),
    "Anthropic, day": anthropic("Number of request tokens has exceeded your daily rate limit."),
    "Anthropic, day in full": anthropic(
        "This request would exceed your organization's limit of 1,000,000 output tokens per day."
    ),
    "Anthropic, credit": anthropic("Your credit balance is too low to access the API."),
    "Anthropic, bill": anthropic("m", "billing_error"),
    "Google, day": google("GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
    "Google, both": google(
        "GenerateRequestsPerMinutePerProjectPerModel", "GenerateRequestsPerDayPerProjectPerModel"
    ),
    "Google, none granted": google(
        "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
        message=f"{GOOGLES} Quota exceeded for metric: x, limit: 0, model: gemini-2.5-pro",
    ),
    "Google, credit": google(message="Your prepayment credits are depleted."),
    "Google, by OpenAI's protocol": [google("GenerateRequestsPerDayPerProjectPerModel")],
    "text": "insufficient_quota: daily quota exceeded",
}


@pytest.mark.parametrize("name", PASSES)
def test_what_passes(name: str) -> None:
    wait_told = "retryDelay" in str(PASSES[name])
    assert not is_lasting(PASSES[name], wait_told=wait_told)


@pytest.mark.parametrize("name", LASTS)
def test_what_lasts(name: str) -> None:
    assert is_lasting(LASTS[name], wait_told="retryDelay" in str(LASTS[name]))


def test_googles_words_for_each_of_its_limits_last_unless_it_says_when_to_come_again() -> None:
    body = openai(GOOGLES, None, None)
    assert is_lasting(body, wait_told=False)
    assert not is_lasting(body, wait_told=True)


@settings(max_examples=costly(100, part=3))
@given(_JSON)
def test_any_body_can_be_read(body: Any) -> None:
    assert is_lasting(body, wait_told=True) in {True, False}


def test_a_deep_body_is_read_to_a_depth() -> None:
    body: Any = {"code": "insufficient_quota"}
    for _ in range(5_000):
        body = [body]
    assert not is_lasting({"error": {"message": "slow"}, "more": body[0][0]}, wait_told=False)
