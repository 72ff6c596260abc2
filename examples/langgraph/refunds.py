"""A graph of LangGraph that reads what a customer wrote, asks a person, and pays money back.

What is ours: the model is a durable client, and the payment a call of the step, done once at most.
It runs in workers of an installed wheel (docs/frameworks.md):

    pip install 'celery-agents[worker,langgraph]' langchain-openai
    cd examples/langgraph
    export AGENTS_CONFIG=agents.toml
    celery -A celery_agents.service worker
    celery -A celery_agents.service agents ask refunds '{"letter": "Order 7 never came."}'
"""

from __future__ import annotations

from typing import Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from celery_agents import Answer, durable_client

model = durable_client(ChatOpenAI(model="gpt-5-mini"))


class Refund(TypedDict, total=False):
    """A refund, as far as it is known."""

    letter: str
    order: str
    cents: int
    said: str


async def read(state: Refund) -> dict[str, Any]:
    """Find which order it is about."""
    asked = await model.ainvoke(f"Of which order is this? Its number alone.\n{state['letter']}")
    return {"order": str(asked.text)}


def decide(state: Refund) -> dict[str, Any]:
    """Have a person say how much is paid back."""
    return {"cents": interrupt({"refund": state["order"]})}


async def pay(state: Refund, config: RunnableConfig) -> dict[str, Any]:
    """Pay, once at the most."""

    async def paid(key: str) -> Answer:
        return Answer(value=f"{state['cents']} cents of order {state['order']}, receipt {key}")

    done = await config["configurable"]["step"].call("pay", paid, once=True)
    return {"said": str(done.value)}


builder: Any = StateGraph(Refund)
builder.add_node("read", read).add_node("decide", decide).add_node("pay", pay)
builder.add_edge(START, "read").add_edge("read", "decide").add_edge("decide", "pay")
graph = builder.compile()
