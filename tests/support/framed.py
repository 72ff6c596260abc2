"""Agents of the tests that ask models by others' clients: ``AGENTS_MODULES``."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

from openai import AsyncOpenAI

from celery_agents import agent, durable_client


@cache
def _client(url: str) -> AsyncOpenAI:
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-x", timeout=60)
    return durable_client(client, price={"input_usd": 1.0, "output_usd": 2.0})


async def _say(url: str, text: str, *, stream: bool) -> str:
    """Ask for one answer."""
    about: Any = {"model": "m", "messages": [{"role": "user", "content": text}]}
    if not stream:
        said = await _client(url).chat.completions.create(**about)
        return said.choices[0].message.content or ""
    about |= {"stream": True, "stream_options": {"include_usage": True}}
    pieces = await _client(url).chat.completions.create(**about)
    return "".join([c.delta.content or "" async for p in pieces for c in p.choices])


@agent
async def by_hand(order: dict[str, Any]) -> list[str]:
    """A loop by hand: two questions side by side, then ``then`` others, by turns streamed."""
    url = order["url"]
    first = await asyncio.gather(*(_say(url, text, stream=False) for text in "ab"))
    rest = [await _say(url, f"{n}", stream=n % 2 == 0) for n in range(order["then"])]
    return [*first, *rest]
