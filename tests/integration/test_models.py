"""Agents of agents.toml: three providers' SDKs through a real worker, over real HTTP."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from celery_agents import Client, RetryPolicy
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import SOON_S, Stack

pytestmark = pytest.mark.databases("sqlite")

QUICK = RetryPolicy(base_delay_s=0.05)
PROVIDERS = ["gpt", "claude", "gemini"]


@pytest.mark.parametrize("agent", PROVIDERS)
class TestProviders:
    def test_waits_as_it_is_told_then_answers(
        self, client: Client, stack: Stack, model: ModelServer, agent: str
    ) -> None:
        model.script(Does(status=500, headers={"Retry-After": "1"}, text="oh"), Does(text="Paris."))
        run = client.ask(agent, "The capital of France?", retry=QUICK)
        assert run.get(timeout=SOON_S) == "Paris."
        (retry,) = stack.events(run.id, "retry")
        assert retry["data"]["error"] == "unavailable"
        assert retry["data"]["delay_s"] >= 1
        calls = [c for c in stack.calls(run.id) if c.finished_at and c.error is None]
        assert len(calls) == 1
        outcome = run.outcome()
        assert outcome is not None
        assert (outcome.usage.input_tokens, outcome.usage.output_tokens) == (100, 20)
        assert outcome.usage.cost_usd == pytest.approx(140e-6)  # at 1 and 2 USD per million

    def test_gets_a_conversation_in_its_own_form(
        self, client: Client, model: ModelServer, agent: str
    ) -> None:
        model.script(Does(text="Rainy."))
        said: list[dict[str, Any]] = [
            {"role": "user", "content": "The weather in Rome?"},
            {"role": "assistant", "tool_calls": [{"id": "1", "name": "find", "arguments": {}}]},
            {"role": "tool", "call_id": "1", "content": "sunny"},
            {"role": "assistant", "content": "Sunny."},
        ]
        run = client.ask(agent, "And in Oslo?", messages=said)
        assert run.get(timeout=SOON_S) == "Rainy."
        body = model.requests[-1].body
        told = body["contents"] if agent == "gemini" else body["messages"]
        assert len(told) == 5
        assert "And in Oslo?" in str(told[-1])
        assert "sunny" in str(told[2])

    def test_votes_with_choices(self, client: Client, model: ModelServer, agent: str) -> None:
        model.script()
        decision = client.vote([agent, agent, "yes"], "?", choices=["yes", "no"]).get(
            timeout=SOON_S
        )
        assert decision.option == "yes"


class Item(BaseModel):
    """A part of an answer."""

    name: Annotated[str, Field(min_length=2)]
    price: float | None = None


class Refusal(BaseModel):
    """Another answer."""

    why: str
    hints: dict[str, str] = {}


@pytest.mark.parametrize("agent", PROVIDERS)
@pytest.mark.parametrize(
    ("answer", "case"),
    [
        (Item, ({"name": "tea", "price": 2}, Item(name="tea", price=2))),
        (Item | Refusal, ({"answer": {"why": "no"}}, Refusal(why="no"))),
        (list[Item], ({"answer": [{"name": "tea"}]}, [Item(name="tea")])),
        (int, ({"answer": 7}, 7)),
        (str | None, ({"answer": None}, None)),
    ],
)
def test_answers_of_every_type(
    client: Client, model: ModelServer, agent: str, answer: Any, case: tuple[Any, Any]
) -> None:
    said, value = case
    model.script(Does(json=said))
    run = client.ask(agent, "?", answer=answer)
    assert run.get(timeout=SOON_S) == value
    assert len(model.requests) == 1


@pytest.mark.parametrize("agent", PROVIDERS)
def test_an_answer_that_is_malformed_goes_back_to_the_model(
    client: Client, stack: Stack, model: ModelServer, agent: str
) -> None:
    model.script(Does(json={"answer": [{"name": "x"}]}), Does(json={"answer": [{"name": "tea"}]}))
    run = client.ask(agent, "?", answer=list[Item])
    assert run.get(timeout=SOON_S) == [Item(name="tea")]
    assert "[0].name has 1 characters, fewer than 2" in str(model.requests[1].body)
    outcome = run.outcome()
    assert outcome is not None
    assert (outcome.attempts, outcome.usage.calls) == (1, 2)
    assert len(stack.calls(run.id)) == 2  # both are journaled


def test_registered_agents_are_announced(stack: Stack) -> None:
    from app.journal.queries import reads

    kinds = {a["name"]: a["kind"] for a in stack.read(reads.agents)}
    assert kinds["gpt"] == "openai"
    assert kinds["shop"] == "celery"
    assert kinds["shout"] == "function"


def test_scripted_agent(client: Client) -> None:
    assert client.ask("scripted", "x").get(timeout=SOON_S) == "as written"
