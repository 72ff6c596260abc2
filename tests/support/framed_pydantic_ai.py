"""An agent of pydantic-ai for real workers: three sub-agents side by side, and a payment."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pydantic_ai import Agent, ApprovalRequired, RunContext
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from celery_agents import StepDurability
from tests.support.agents import _tell

_URL, _BOOK = os.environ["FRAMED_URL"], os.environ["FRAMED_BOOK"]
_PRICE = {"input_usd": 1.0, "output_usd": 2.0}


def _model(name: str) -> OpenAIChatModel:
    provider = OpenAIProvider(base_url=f"{_URL}/{name}/v1", api_key="sk-x")
    return OpenAIChatModel("m", provider=provider)


sub = Agent(_model("sub"), name="sub", capabilities=[StepDurability(price=_PRICE)])
lead = Agent(_model("lead"), name="lead", capabilities=[StepDurability(price=_PRICE)])


@sub.tool_plain
def dig(at: str) -> str:
    """Dig there."""
    _tell(_BOOK, f"dig {at}")
    return f"dug {at}"


@lead.tool_plain
async def delegate(to: str) -> str:
    """Have somebody dig."""
    return (await sub.run(to)).output


@lead.tool
def pay(ctx: RunContext[None], cents: int) -> str:
    """Pay, once a person says so."""
    if not ctx.tool_call_approved:
        raise ApprovalRequired
    _tell(_BOOK, f"pay {cents}")
    while Path(_BOOK).with_suffix(".hold").exists():
        time.sleep(0.02)
    return f"paid {cents}"
