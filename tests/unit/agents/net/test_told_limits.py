from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from agents.net.told_limits import Told, listen, listening, told_in


@pytest.mark.parametrize(
    ("headers", "limits", "remaining"),
    [
        ({}, {}, {}),
        (
            {
                "x-ratelimit-limit-requests": "500",
                "x-ratelimit-remaining-requests": "499",
                "x-ratelimit-reset-requests": "120ms",
                "x-ratelimit-limit-tokens": "200000",
                "x-ratelimit-remaining-tokens": "149984",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            {"requests": 500, "tokens": 200_000},
            {"requests": 499, "tokens": 149_984},
        ),
        (
            {
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-input-tokens-limit": "40000",
                "anthropic-ratelimit-output-tokens-limit": "8000",
                "anthropic-ratelimit-output-tokens-remaining": "7000",
                "anthropic-ratelimit-requests-reset": "2026-11-28T09:00:00Z",
            },
            {"requests": 50, "input": 40_000, "output": 8000},
            {"requests": 0, "output": 7000},
        ),
        ({"x-ratelimit-limit-requests": "-1", "x-ratelimit-remaining-requests": "5"}, {}, {}),
        ({"x-ratelimit-limit-requests": "0"}, {}, {}),
        ({"x-ratelimit-limit-tokens": "many", "x-ratelimit-limit-requests": "inf"}, {}, {}),
        ({"x-ratelimit-limit-tokens": "1" * 400, "x-ratelimit-limit-requests": ""}, {}, {}),
    ],
    ids=["none", "openai", "anthropic", "azure", "zero", "words", "absurd"],
)
def test_limits_are_read(headers: Any, limits: Any, remaining: Any) -> None:
    assert told_in(headers) == Told(limits, remaining)


def test_each_hears_what_it_was_told_itself() -> None:
    async def ask(number: int) -> list[Told]:
        with listening() as heard:
            await asyncio.sleep(0)
            headers = {"x-ratelimit-limit-requests": str(number)}
            await asyncio.create_task(listen(SimpleNamespace(headers=headers)))
        return heard

    async def all_of_them() -> list[list[Told]]:
        return await asyncio.gather(*(ask(n) for n in range(1, 51)))

    assert asyncio.run(all_of_them()) == [[Told({"requests": n})] for n in range(1, 51)]
    asyncio.run(listen(SimpleNamespace(headers={})))  # nobody listens
