"""A support agent of pydantic-ai that asks another one; what is ours is one capability of each.

It runs in workers of an installed wheel (docs/frameworks.md):

    pip install 'celery-agents[worker,pydantic-ai]' 'pydantic-ai-slim[openai]'
    cd examples/pydantic_ai
    export AGENTS_CONFIG=agents.toml
    celery -A celery_agents.service worker
    celery -A celery_agents.service agents ask support "Where is order 7?"
"""

from __future__ import annotations

from pydantic_ai import Agent

from celery_agents import StepDurability

translator = Agent(
    "openai:gpt-5-mini",
    name="translator",
    instructions="Translate to English.",
    capabilities=[StepDurability()],
)
support = Agent(
    "openai:gpt-5-mini",
    name="support",
    instructions="Help the customer.",
    capabilities=[StepDurability()],
)


@support.tool_plain
async def translate(text: str) -> str:
    """Translates what a customer wrote."""
    return (await translator.run(text)).output


@support.tool_plain
def find_order(number: int) -> dict[str, str | int]:
    """Finds an order by its number."""
    return {"number": number, "state": "sent"}


@support.tool_plain(requires_approval=True)
def refund(number: int, cents: int) -> str:
    """Pays money back, once a person has said so."""
    return f"{cents} cents of order {number} are on their way"
