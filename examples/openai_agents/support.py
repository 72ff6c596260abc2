"""A support team of OpenAI's Agents SDK, as its authors would write it: nothing here is ours.

It runs in workers of an installed wheel (docs/frameworks.md):

    pip install 'celery-agents[worker,openai-agents]'
    cd examples/openai_agents
    export AGENTS_CONFIG=agents.toml
    celery -A celery_agents.service worker
    celery -A celery_agents.service agents ask support "Where is order 7?"
"""

from __future__ import annotations

from agents import Agent, function_tool


@function_tool
def find_order(number: int) -> dict[str, str | int]:
    """Finds an order by its number."""
    return {"number": number, "state": "sent"}


@function_tool(needs_approval=True)
def refund(number: int, cents: int) -> str:
    """Pays money back, once a person has said so."""
    return f"{cents} cents of order {number} are on their way"


translator = Agent(name="translator", model="gpt-5-mini", instructions="Translate to English.")
billing = Agent(
    name="billing",
    model="gpt-5-mini",
    instructions="Settle what the customer has paid.",
    tools=[find_order, refund],
)
support = Agent(
    name="support",
    model="gpt-5-mini",
    instructions="Help the customer. Hand over to billing where money is wanted back.",
    tools=[find_order, translator.as_tool("translate", "Translates what a customer wrote.")],
    handoffs=[billing],
)
