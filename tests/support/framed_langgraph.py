"""A graph of LangGraph for real workers: three nodes side by side, a question, and a payment."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import httpx2
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from celery_agents import durable_client
from tests.support.agents import _tell

_URL, _BOOK = os.environ["FRAMED_URL"], os.environ["FRAMED_BOOK"]


class Chat(BaseChatModel):
    """Asks the fake server in OpenAI's form."""

    @property
    def _llm_type(self) -> str:
        return "chat"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **_: Any
    ) -> ChatResult:
        asked = [{"role": "user", "content": str(m.content)} for m in messages]
        async with httpx2.AsyncClient(timeout=60) as http:
            url = f"{_URL}/v1/chat/completions"
            told = (await http.post(url, json={"model": "m", "messages": asked})).json()
        used = told["usage"]
        tokens: Any = {
            "input_tokens": used["prompt_tokens"],
            "output_tokens": used["completion_tokens"],
            "total_tokens": used["prompt_tokens"] + used["completion_tokens"],
        }
        said = AIMessage(told["choices"][0]["message"]["content"], usage_metadata=tokens)
        return ChatResult(generations=[ChatGeneration(message=said)])


model = durable_client(Chat(), price={"input_usd": 1.0, "output_usd": 2.0})


class Dug(TypedDict, total=False):
    dug: Annotated[list[str], operator.add]
    paid: int


def _digs(name: str) -> Callable[[Dug], Any]:
    async def node(_: Dug) -> Any:
        said = [str((await model.ainvoke(f"{name}/{n}")).content) for n in range(2)]
        _tell(_BOOK, f"dug {name}")
        return {"dug": said}

    return node


def pay(state: Dug) -> Any:
    """Pay what a person says."""
    cents = interrupt({"found": len(state["dug"])})
    _tell(_BOOK, f"paid {cents}")
    return {"paid": cents}


async def close(_: Dug) -> Any:
    """Say the last word."""
    return {"dug": [str((await model.ainvoke("close")).content)]}


graph: Any = StateGraph(Dug)
graph.add_node("pay", pay).add_node("close", close)
for _name in "abc":
    graph.add_node(_name, _digs(_name)).add_edge(START, _name)
graph.add_edge([*"abc"], "pay").add_edge("pay", "close")
