"""Agents of agents.toml: three providers' SDKs through a real worker, over real HTTP."""

from __future__ import annotations

import pytest

from celery_agents import Client, RetryPolicy
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import SOON_S, Stack

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

    def test_votes_with_choices(self, client: Client, model: ModelServer, agent: str) -> None:
        model.script()
        decision = client.vote([agent, agent, "yes"], "?", choices=["yes", "no"]).get(
            timeout=SOON_S
        )
        assert decision.option == "yes"


def test_registered_agents_are_announced(stack: Stack) -> None:
    from app.journal.queries import reads

    kinds = {a["name"]: a["kind"] for a in stack.read(reads.agents)}
    assert kinds["gpt"] == "openai"
    assert kinds["shop"] == "celery"
    assert kinds["shout"] == "function"


def test_scripted_agent(client: Client) -> None:
    assert client.ask("scripted", "x").get(timeout=SOON_S) == "as written"
