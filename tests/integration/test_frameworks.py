"""Other libraries' agents in real workers that are killed: what was paid is not paid again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celery_agents.errors import BudgetExceededError
from tests.fakes.model_server import Does, ModelServer, running
from tests.integration.harness import FAST, SOON_S, Stack, eventually
from tests.support import forks
from tests.support.framed_team import (
    MANY,
    Diggers,
    Team,
    a_graph_through_kills,
    amid_an_approved_tool,
    asked,
    playing,
    through_kills,
)

pytestmark = pytest.mark.databases("sqlite")

#: What the agents of the teams here are made with.
LIBRARIES = (
    *("langchain_core.language_models.chat_models", "langgraph.graph", "langgraph.types"),
    *("pydantic_ai.models.openai", "pydantic_ai.providers.openai"),
)
MODULES = {**FAST, "AGENTS_MODULES": '["tests.support.framed"]'}


@pytest.fixture(scope="module", autouse=True)
def _imported() -> Iterator[None]:
    """What each worker of the teams here would import, by itself, for a second."""
    assert forks.nursery is not None
    with forks.nursery.having(*LIBRARIES):
        yield


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with running() as made:
        yield made


@pytest.fixture
def journaled(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    made = Stack(redis_url, database_url, tmp_path, MODULES)
    yield made
    made.close()


def test_a_loop_by_hand_pays_nothing_twice(server: ModelServer, journaled: Stack) -> None:
    hangs = Does(hang=True)
    server.script(Does(text="x"), Does(text="x"), Does(text="x"), hangs, hangs, Does(text="x"))
    run = journaled.client.ask("by_hand", {"url": server.url, "then": 3}, retry=MANY)
    worker = journaled.worker()
    for requests in (4, 5):  # the second of the three, streamed or not, twice amid it
        eventually(lambda n=requests: len(server.requests) == n, f"{requests} requests")  # type: ignore[misc]
        worker.kill()
        worker = journaled.worker()
    assert run.get(timeout=SOON_S) == ["x"] * 5
    assert asked(server) == {"a": 1, "b": 1, "0": 1, "1": 3, "2": 1}
    # One key for each request, however often it was sent.
    keys = {seen.headers["idempotency-key"] for seen in server.requests}
    assert len(keys) == 5
    outcome = run.outcome()
    assert outcome is not None
    usage = outcome.usage
    assert (usage.calls, usage.input_tokens) == (5, 500)
    assert usage.cost_usd == pytest.approx(5 * 140 / 1e6)


def test_a_budget_of_the_run_ends_it(server: ModelServer, journaled: Stack) -> None:
    server.script(Does(text="x", input_tokens=1000, output_tokens=500))  # 0.002 dollars
    journaled.worker()
    about: Any = {"url": server.url, "then": 8}
    run = journaled.client.ask("by_hand", about, budget={"usd": 0.011})
    with pytest.raises(BudgetExceededError):
        run.get(timeout=SOON_S)
    assert 2 <= len(server.requests) <= 5


@pytest.fixture
def team() -> Iterator[Team]:
    with playing(Team()) as made:
        yield made


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "book"


@pytest.fixture
def led(
    database_url: str, redis_url: str, tmp_path: Path, team: Team, book: Path
) -> Iterator[Stack]:
    """With the lead of tests/support/framed_pydantic_ai.py."""
    config = tmp_path / "agents.toml"
    config.write_text(
        '[agents.lead]\nkind = "pydantic_ai"\nagent = "tests.support.framed_pydantic_ai:lead"\n'
    )
    about = {"AGENTS_CONFIG": str(config), "FRAMED_URL": team.url, "FRAMED_BOOK": str(book)}
    made = Stack(redis_url, database_url, tmp_path, {**FAST, **about})
    yield made
    made.close()


def test_a_team_of_pydantic_ai_through_kills_and_an_approval(
    team: Team, led: Stack, book: Path
) -> None:
    run = through_kills(led, team, book)
    # Three sub-agents ask twice, the lead three times; two requests hung and came again.
    assert len({json.dumps(seen.body, sort_keys=True) for seen in team.requests}) == 3 * 2 + 3
    # On a busy machine others may be under way, too, when a worker is killed, and come again.
    assert led.calls_made_twice() == 0
    begun = [c for c in led.calls(run.id) if c.name not in {"delegate", "dig", "pay"}]
    assert 3 * 2 + 3 + 2 <= len(team.requests) <= len(begun)
    outcome = run.outcome()
    assert outcome is not None
    assert outcome.usage.calls == 9
    assert outcome.usage.cost_usd == pytest.approx(9 * 140 / 1e6)


@pytest.fixture
def diggers() -> Iterator[Diggers]:
    with playing(Diggers()) as made:
        yield made


def test_a_graph_of_langgraph_through_kills_and_an_interrupt(
    database_url: str, diggers: Diggers, redis_url: str, tmp_path: Path
) -> None:
    """Killed amid a node beside others, amid the last one, and while a person is waited for."""
    pytest.importorskip("langgraph", reason="needs the extra langgraph")
    config, book = tmp_path / "agents.toml", tmp_path / "book"
    config.write_text(
        '[agents.dig]\nkind = "langgraph"\nagent = "tests.support.framed_langgraph:graph"\n'
    )
    about = {"AGENTS_CONFIG": str(config), "FRAMED_URL": diggers.url, "FRAMED_BOOK": str(book)}
    stack = Stack(redis_url, database_url, tmp_path, {**FAST, **about})
    try:
        a_graph_through_kills(stack, diggers, book)
    finally:
        stack.close()


def test_an_approved_tool_of_pydantic_ai_is_not_done_again(led: Stack, book: Path) -> None:
    amid_an_approved_tool(led, book)
