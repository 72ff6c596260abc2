"""Agents of OpenAI's SDK, by real workers of the wheel: in a checkout its package is hidden."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.harness import COROUTINES, FAST, Stack
from tests.support.framed_team import Team, amid_an_approved_tool, playing, through_kills
from tests.support.service import ROOT
from tests.support.wheel import Site
from tests.support.workers import WorkerProcess, unique_name

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PROJECT = ROOT / "tests" / "support" / "projects" / "openai_agents"


class WheelStack(Stack):
    """With workers of an installed wheel, in a project of its user."""

    site: Site

    def worker(self, *_: Any, **__: Any) -> WorkerProcess:
        """Start a worker; it is ended with the stack."""
        name = unique_name()
        about = ["--hostname", name, "--loglevel", "INFO", *COROUTINES]
        celery = str(self.site.bin / "celery")
        command = [celery, "-A", "celery_agents.service", "worker", *about]
        env = self.site.environment({**self.env, "PYTHONPATH": str(PROJECT)})
        worker = WorkerProcess(name, command, env=env, directory=self.directory, cwd=PROJECT)
        self.workers.append(worker)
        worker.start()
        worker.wait_ready(180)  # the first one compiles what is installed
        return worker


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"), "worker,openai-agents")


@pytest.fixture
def team() -> Iterator[Team]:
    with playing(Team("input", over="closer")) as made:
        yield made


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "book"


Make = Callable[[str], WheelStack]


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


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def both(request: pytest.FixtureRequest, make: Make) -> WheelStack:
    return make(request.getfixturevalue(f"{request.param}_journal_url"))


@pytest.fixture
def stack(make: Make, sqlite_journal_url: str) -> WheelStack:
    made = make(sqlite_journal_url)
    made.worker()
    return made


def test_a_team_through_kills_and_an_approval(team: Team, both: WheelStack, book: Path) -> None:
    run = through_kills(both, team, book)
    # Three sub-agents ask twice, the lead three times, and the one that it hands over to once; two
    # requests hung and came again, under their own keys.
    assert len(team.requests) == 3 * 2 + 3 + 1 + 2
    requests = {json.dumps(seen.body, sort_keys=True) for seen in team.requests}
    keys = {seen.headers["idempotency-key"] for seen in team.requests}
    assert len(requests) == len(keys) == 10
    outcome = run.outcome()
    assert outcome is not None
    assert outcome.usage.calls == 10
    assert outcome.usage.cost_usd == pytest.approx(10 * 140 / 1e6)


def test_an_approved_tool_is_not_done_again(both: WheelStack, book: Path) -> None:
    amid_an_approved_tool(both, book)


def test_answers_of_a_form_streams_and_sessions(team: Team, stack: WheelStack) -> None:
    client = stack.client
    with client.ask("plain", "b", stream=True) as run:
        texts = [event.data["text"] for event in run.events() if event.type == "text"]
    assert "".join(texts).endswith("b done")
    assert run.get(timeout=SOON_S) == "b done"
    assert run.outcome().usage.input_tokens == 200  # type: ignore[union-attr]
