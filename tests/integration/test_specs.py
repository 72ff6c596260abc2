"""Agents that are made for a task: each is a row, and no more than its base."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celery_agents import AgentSpec, RetryPolicy, TeamReport, TeamRun
from celery_agents.errors import AgentsError
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import FAST, SOON_S, Location, Stack, eventually, lines

pytestmark = pytest.mark.databases("one")

AGENTS = """
[agents.boss]
kind = "openai"
model = "m"
base_url = "{url}/v1"
tools = ["spawn:author"]

[agents.author]
kind = "openai"
model = "m"
base_url = "{url}/v1"
instructions = "You write."
tools = ["tests.support.team:weigh", "agent:poet"]

[agents.manager]
kind = "openai"
model = "m"
base_url = "{url}/v1"
"""
QUICK = RetryPolicy(base_delay_s=0.05, max_attempts=20)


def begun(where: Location, model: ModelServer) -> Stack:
    """A stack with a worker, whose agents write what they do into the file ``team``."""
    config = where.directory / "agents.toml"
    config.write_text(AGENTS.format(url=model.url))
    env = {
        "AGENTS_CONFIG": str(config),
        "AGENTS_MODULES": '["tests.support.agents", "tests.support.team"]',
        "TEAM": str(where.directory / "team"),
    }
    made = Stack(*where, FAST | env)
    made.worker()
    return made


@pytest.fixture(scope="module")
def _common(location: Location, model: ModelServer) -> Iterator[Stack]:
    made = begun(location, model)
    yield made
    made.close()


@pytest.fixture
def team(_common: Stack) -> Stack:
    """A stack for tests that harm it not, whose files are not there yet."""
    for name in ("team", "team.go"):
        (_common.directory / name).unlink(missing_ok=True)
    return _common


@pytest.fixture
def mortal(own_location: Location, model: ModelServer) -> Iterator[Stack]:
    """A stack of the test's own, which kills its workers."""
    made = begun(own_location, model)
    yield made
    made.close()


def told(report: TeamReport) -> list[tuple[str, str | None, str | None, int]]:
    return [(p.agent, p.base, p.asked_by, p.depth) for p in report.parts]


def tools_of(body: Any) -> list[str]:
    return [tool["function"]["name"] for tool in body.get("tools", ())]


def test_a_function_says_the_members_and_their_sub_teams(mortal: Stack, tmp_path: Path) -> None:
    """Workers die between; each has a row, and what has ended is not done again."""
    run = mortal.client.team("conductor", "sea sky", members="staffing", retry=QUICK)
    eventually(lambda: lines(tmp_path / "team"), "somebody writes")
    mortal.workers[-1].kill()
    mortal.worker()
    report = run.get(timeout=2 * SOON_S)
    assert report.value == "<sea<Doubt it.>> <sky<Doubt it.>>"
    first, lead, *rest = told(report)
    assert (first, lead) == (("staffing", None, None, 0), ("conductor", None, None, 0))
    assert sorted(rest) == [
        *[("critic", "poet", f"poet{n}", 2) for n in range(2)],
        *[(f"poet{n}", "poet", "conductor", 1) for n in range(2)],
    ]
    status = run.status()
    assert status is not None
    assert [s["agent"] for s in status["steps"]].count("poet") == 4


def test_a_model_makes_an_agent_for_a_task(team: Stack, model: ModelServer) -> None:
    """Of its tools it has those that it was given; its base's instructions stay."""
    made = {"name": "rhymer", "instructions": "In rhymes.", "traits": ["terse"], "tools": ["weigh"]}
    model.script(
        Does(tool=("spawn_author", {"input": "Spring.", **made})),
        Does(tool=("ask_poet", {"input": "Help."})),  # which it was not given
        Does(text="Spring, ring."),
        Does(text="Fine."),
    )
    report = team.client.team("boss", "A poem.").get(timeout=SOON_S)
    assert told(report) == [("boss", None, None, 0), ("rhymer", "author", "boss", 1)]
    lead, writer, again, last = (seen.body for seen in model.requests)
    assert tools_of(lead) == ["spawn_author"]
    assert tools_of(writer) == ["weigh"]
    assert all(part in str(writer) for part in ("You write.", "In rhymes.", "Be terse", "Spring."))
    assert "There is no tool 'ask_poet'" in str(again)
    assert "Spring, ring." in str(last)


def test_a_lead_has_members_for_a_task(team: Stack, model: ModelServer) -> None:
    members: list[str | AgentSpec] = [
        "poet",
        AgentSpec(base="author", name="rhymer", tools=(), description="Rhymes."),
    ]
    model.script(
        Does(tool=("ask_rhymer", {"input": "Spring."})), Does(text="Ring."), Does(text="Fine.")
    )
    run = team.client.team("manager", "A poem.", members=members)
    report = run.get(timeout=SOON_S)
    assert told(report)[1:] == [("rhymer", "author", "manager", 1)]
    lead, rhymer, _ = (seen.body for seen in model.requests)
    assert tools_of(lead) == ["ask_poet", "ask_rhymer"]
    assert "Rhymes." in str(lead)
    assert tools_of(rhymer) == []


def test_a_narrowed_agent_is_asked_alone(team: Stack, model: ModelServer) -> None:
    model.script(Does(text="Ring."))
    spec = AgentSpec(base="author", instructions="In rhymes.", tools=())
    assert team.client.ask(spec, "Spring.").get(timeout=SOON_S) == "Ring."
    assert tools_of(model.requests[0].body) == []


def test_no_team_is_made_of_more_than_there_is(team: Stack, model: ModelServer) -> None:
    """Neither by whoever asks nor by a model, which chooses among those whom it may ask."""
    once = RetryPolicy(max_attempts=1)

    def refused(members: Any, why: str) -> None:
        run = team.client.team("manager", "A poem.", members=members, retry=once)
        with pytest.raises(AgentsError, match=why):
            run.get(timeout=SOON_S)

    refused(["nobody"], "no agent 'nobody'")
    refused([{"base": "author", "tools": ["pay"]}], "no tool 'pay'")
    model.script(*[Does(text='{"answer": [{"base": "poet"}]}')] * 2)
    refused("boss", "Nobody said the members: .*base")
    assert '"enum": ["author"]' in json.dumps(model.requests[0].body)
    run = team.client.ask(AgentSpec(base="poet", tools=("pay",)), "x")
    with pytest.raises(AgentsError, match="a function has no tools"):
        run.get(timeout=SOON_S)


def test_the_same_is_asked_once_in_a_team(mortal: Stack, tmp_path: Path) -> None:
    """By whomever: one under way is waited for, though its worker dies."""
    run = mortal.client.team("twice", "it", retry=QUICK)
    eventually(lambda: len(looked(tmp_path)) == 1, "the clerk looks")
    eventually(lambda: waits(mortal, run), "another one waits for it")
    mortal.workers[-1].kill()
    mortal.worker()
    (tmp_path / "team.go").touch()
    report = run.get(timeout=2 * SOON_S)
    assert report.value == ["it!"] * 3
    assert len({line.split()[1] for line in looked(tmp_path)}) == 1
    first, *others = [part for part in report.parts if part.agent == "clerk"]
    assert (first.same_as, [part.same_as for part in others]) == (None, [first.step_id] * 2)


def looked(folder: Path) -> list[str]:
    return [line for line in lines(folder / "team") if line.startswith("looked")]


def waits(team: Stack, run: TeamRun) -> bool:
    """True when there are two turns of the clerk."""
    status = run.status()
    return status is not None and [s["agent"] for s in status["steps"]].count("clerk") > 1


def test_a_team_may_ask_the_same_each_time(team: Stack) -> None:
    (team.directory / "team.go").touch()
    report = team.client.team("twice", "it", repeats="ask").get(timeout=SOON_S)
    assert (report.value, len(looked(team.directory))) == (["it!"] * 3, 3)
    assert {part.same_as for part in report.parts} == {None}
