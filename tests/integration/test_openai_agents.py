"""Agents of OpenAI's SDK, by real workers of the wheel: in a checkout its package is hidden.

The other two frameworks are installed beside it, and run there, too.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celery_agents.errors import PriceUnknownError
from deploy.local.state import ROOT
from deploy.wheel import HOME, rewrite
from tests.fakes.model_server import ModelServer
from tests.integration.harness import COROUTINES, FAST, SOON_S, Stack
from tests.support import forks
from tests.support.forks import Wheel
from tests.support.framed_team import (
    Diggers,
    Team,
    a_graph_through_kills,
    amid_an_approved_tool,
    asked_again,
    playing,
    through_kills,
)
from tests.support.wheel import Site
from tests.support.workers import WorkerProcess, unique_name

pytestmark = [pytest.mark.databases("sqlite"), pytest.mark.slow, pytest.mark.timeout(600)]

#: What the project's workers import.
PRELOADED = (
    *("agents", "openai.resources.chat.completions", "genai_prices"),
    *("langgraph.graph", "pydantic_ai.models.openai"),
)
PROJECT = ROOT / "tests" / "support" / "projects" / "openai_agents"


class WheelStack(Stack):
    """With workers of an installed wheel, in a project of its user."""

    site: Site

    def worker(self, *_: Any, **__: Any) -> WorkerProcess:
        """Start a worker; it is ended with the stack."""
        name = unique_name()
        options = ["--hostname", name, "--loglevel", "INFO", *COROUTINES]
        celery = [str(self.site.bin / "python"), "-m", "celery", "-A", HOME]
        command = [*celery, "worker", *options]
        # What is imported is written down compiled: it takes ten times as long otherwise.
        path = os.pathsep.join([str(PROJECT), str(self.site.folder / "project")])
        about = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": ""}
        env = self.site.environment({**self.env, **about})
        worker = WorkerProcess(name, command, env=env, directory=self.directory, cwd=PROJECT)
        self.workers.append(worker)
        worker.start()
        worker.wait_ready(180)  # the first one compiles what is installed
        return worker


@pytest.fixture(scope="module")
def site(disk: Path) -> Site:
    extras = "worker,openai-agents,pydantic-ai,langgraph"
    made = Site(disk / "site", extras, "pytest", "pydantic-ai-slim[openai]")
    assert forks.nursery is not None
    about = Wheel(made.folder / "project", HOME, PRELOADED)
    forks.nursery.know(made.bin / "python", about)
    return made


@pytest.fixture
def team() -> Iterator[Team]:
    with playing(Team("input", over="closer")) as made:
        yield made


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "book"


Make = Callable[[str], WheelStack]
Beside = Callable[[str, ModelServer, Path], WheelStack]


@pytest.fixture
def make(site: Site, redis_url: str, tmp_path: Path, team: Team, book: Path) -> Iterator[Make]:
    """Makes the stack of a test on a journal."""
    about = {
        "AGENTS_CONFIG": str(PROJECT / "agents.toml"),
        "AGENTS_MODULES": '["team"]',
        "FRAMED_URL": team.url,
        "FRAMED_BOOK": str(book),
        "OPENAI_API_KEY": "sk-x",
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
    }
    made: list[WheelStack] = []

    def stack(url: str) -> WheelStack:
        made.append(WheelStack(redis_url, url, tmp_path, {**FAST, **about}))
        made[0].site = site
        return made[0]

    yield stack
    made[0].close()


@pytest.fixture
def journaled(database_url: str, make: Make) -> WheelStack:
    return make(database_url)


def test_a_team_through_kills_and_an_approval(
    team: Team, journaled: WheelStack, book: Path
) -> None:
    run = through_kills(journaled, team, book)
    # Three sub-agents ask twice, the lead three times, and the one that it hands over to once; two
    # requests hung and came again, under their own keys.
    assert len(asked_again(journaled, run, team)) >= 2
    requests = {json.dumps(seen.body, sort_keys=True) for seen in team.requests}
    keys = {seen.headers["idempotency-key"] for seen in team.requests}
    assert len(requests) == len(keys) == 3 * 2 + 3 + 1
    outcome = run.outcome()
    assert outcome is not None
    assert outcome.usage.calls == 10
    assert outcome.usage.cost_usd == pytest.approx(10 * 140 / 1e6)


def test_an_approved_tool_is_not_done_again(journaled: WheelStack, book: Path) -> None:
    amid_an_approved_tool(journaled, book)


def test_an_unknown_price_says_where_it_is_said(make: Make, sqlite_journal_url: str) -> None:
    stack = make(sqlite_journal_url)
    stack.worker()
    about: Any = {"budget": {"usd": 0.5}}
    with pytest.raises(PriceUnknownError, match=r"below \[agents.unpriced\]: price = "):
        stack.client.ask("unpriced", "b", **about).get(timeout=SOON_S)
    with pytest.raises(PriceUnknownError, match=r'durable_runner\(price={"input_usd": 0.5'):
        stack.client.ask("by_runner", "b", **about).get(timeout=SOON_S)


@pytest.fixture
def beside(site: Site, redis_url: str, sqlite_journal_url: str, tmp_path: Path) -> Iterator[Beside]:
    """Makes the stack of one agent of another framework."""
    made: list[WheelStack] = []

    def stack(entry: str, server: ModelServer, book: Path) -> WheelStack:
        config = tmp_path / "agents.toml"
        config.write_text(entry)
        about = {"AGENTS_CONFIG": str(config), "FRAMED_URL": server.url, "FRAMED_BOOK": str(book)}
        made.append(WheelStack(redis_url, sqlite_journal_url, tmp_path, {**FAST, **about}))
        made[0].site = site
        return made[0]

    yield stack
    made[0].close()


def test_a_team_of_pydantic_ai_beside_the_sdk(beside: Beside, book: Path) -> None:
    entry = '[agents.lead]\nkind = "pydantic_ai"\nagent = "tests.support.framed_pydantic_ai:lead"\n'
    with playing(Team()) as team:
        stack = beside(entry, team, book)
        through_kills(stack, team, book)
        assert len({json.dumps(seen.body, sort_keys=True) for seen in team.requests}) == 3 * 2 + 3
        assert stack.calls_made_twice() == 0


def test_a_graph_of_langgraph_beside_the_sdk(beside: Beside, book: Path) -> None:
    entry = '[agents.dig]\nkind = "langgraph"\nagent = "tests.support.framed_langgraph:graph"\n'
    with playing(Diggers()) as diggers:
        a_graph_through_kills(beside(entry, diggers, book), diggers, book)


def test_what_it_does_by_the_fake_models_of_the_sdk(site: Site, tmp_path: Path) -> None:
    """Runs tests/support/projects/openai_agents/checks.py, where ``agents`` is the SDK."""
    shutil.copy(PROJECT / "checks.py", tmp_path)
    step = (ROOT / "tests" / "support" / "memory_step.py").read_text()
    (tmp_path / "memory_step.py").write_text(rewrite(step))
    path = os.pathsep.join([str(tmp_path), str(ROOT / "examples" / "openai_agents")])
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    env = {"PYTHONPATH": path}
    site.run("python", "-m", "pytest", *options, "checks.py", cwd=tmp_path, env=env)
