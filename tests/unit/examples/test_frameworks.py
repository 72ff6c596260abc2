"""The examples of other libraries' agents, as agents.toml has them, by the libraries' fake models.

That of OpenAI's SDK is run in the wheel (tests/integration/test_openai_agents.py).
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic_ai import models
from pydantic_ai.durable_exec import _base
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from agents.base import Answer, Backend, Turn
from agents.catalog.kinds import all_kinds, entry_of
from agents.current import stand_in
from agents.plan import Expand, Member
from celery_agents.contracts.outcome import Outcome, State
from tests.support.memory_step import MemoryStep

EXAMPLES = Path(__file__).parents[3] / "examples"


def backend(monkeypatch: pytest.MonkeyPatch, folder: str, name: str) -> tuple[Backend, Any]:
    """What agents.toml of an example says, with its module as a worker in its folder imports it."""
    told = tomllib.loads((EXAMPLES / folder / "agents.toml").read_text())["agents"][name]
    module = told["agent"].partition(":")[0]
    monkeypatch.syspath_prepend(EXAMPLES / folder)
    monkeypatch.delitem(sys.modules, module, raising=False)
    imported = importlib.import_module(module)
    monkeypatch.setitem(sys.modules, module, imported)  # and not for other tests
    kinds = all_kinds()
    resources: Any = None
    return kinds[told["kind"]].make(entry_of(told, kinds), resources).backend(), imported


def ask(agent: Backend, step: MemoryStep, asked: Any) -> Any:
    context: Any = step

    async def run() -> Any:
        stand_in(step)
        return await agent.answer(Turn(input=asked), context)

    return asyncio.run(run())


def waits(agent: Backend, step: MemoryStep, asked: Any) -> Member:
    found = ask(agent, step, asked)
    assert isinstance(found, Expand)
    (wish,) = found.members
    return wish


def answer(agent: Backend, step: MemoryStep, asked: Any) -> Any:
    found = ask(agent, step, asked)
    assert isinstance(found, Answer)
    return found.value


def approve(step: MemoryStep, wish: Member, said: Any) -> None:
    step.ended[wish.key] = Outcome(state=State.SUCCEEDED, value=said)
    step.again()


def test_a_support_agent_of_pydantic_ai(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str | None, int]] = []

    def says(messages: list[ModelMessage], about: AgentInfo) -> ModelResponse:
        told = [p for m in messages for p in m.parts if isinstance(p, ToolReturnPart)]
        asked.append((about.instructions, len(told)))
        if about.instructions == "Translate to English.":
            return ModelResponse(parts=[TextPart("Money for 7")])
        turns: list[Any] = [
            ToolCallPart("translate", {"text": "Geld für 7"}),
            ToolCallPart("find_order", {"number": 7}),
            ToolCallPart("refund", {"number": 7, "cents": 900}),
            TextPart(" / ".join(str(part.content) for part in told)),
        ]
        return ModelResponse(parts=[turns[len(told)]])

    # As a worker has the models' names, and OpenAI's key; wherever it was imported to already.
    for where in (models, _base):
        monkeypatch.setattr(where, "infer_model", lambda _: FunctionModel(says))
    agent, _ = backend(monkeypatch, "pydantic_ai", "support")
    step = MemoryStep()
    wish: Any = waits(agent, step, "Geld für 7")
    assert wish.input["arguments"] == {"number": 7, "cents": 900}
    approve(step, wish, True)
    said = answer(agent, step, "Geld für 7")
    assert said.startswith("Money for 7 / ")
    assert said.endswith(" / 900 cents of order 7 are on their way")
    # Each once, before the person and after.
    assert len(asked) == len({*asked}) == 5
    assert answer(agent, step.again(), "Geld für 7") == said
    assert len(asked) == 5


def test_a_graph_of_langgraph(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("langgraph", reason="needs the extra langgraph")
    from langchain_core.language_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage

    said = iter([AIMessage("7")])  # a second request would find nothing
    openai: Any = ModuleType("langchain_openai")
    openai.ChatOpenAI = lambda model: GenericFakeChatModel(messages=said, name=model)
    monkeypatch.setitem(sys.modules, "langchain_openai", openai)
    agent, _ = backend(monkeypatch, "langgraph", "refunds")
    step, letter = MemoryStep(), {"letter": "Order 7 never came."}
    wish: Any = waits(agent, step, letter)
    assert wish.input["question"] == {"refund": "7"}
    approve(step, wish, 900)
    found = answer(agent, step, letter)
    assert found == {
        **letter,
        "order": "7",
        "cents": 900,
        "said": "900 cents of order 7, receipt step-1-2",
    }
    assert answer(agent, step.again(), letter) == found
    assert step.calls.count("pay") == 1
