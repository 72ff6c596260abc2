"""A conversation with a tool, a stream and an answer of a type, in each provider's protocol.

The providers' SDKs speak real HTTP to the fake model server, through a real worker, which is killed
while it streams.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from celery_agents import RetryPolicy, RunEvent
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import FAST, Location, Stack, lines

pytestmark = pytest.mark.databases("sqlite")

ENTRY = """
[agents.{name}]
kind = "{kind}"
model = "m"
base_url = "{url}"
tools = ["tests.support.team:weigh"]
"""
#: By the kinds of their entries: OpenAI's chat completions, Anthropic's messages, Gemini's.
PROTOCOLS = {"openai": "/v1", "anthropic": "", "google": ""}
#: Generous: two workers start meanwhile.
WAIT_S = 60.0
QUICK = RetryPolicy(base_delay_s=0.05, max_attempts=20)


class Parcel(BaseModel):
    """What the model is to say of it."""

    weight: int
    notes: list[str]


class Refusal(BaseModel):
    """What it may say instead."""

    why: str


PARCEL = Parcel(weight=6, notes=[f"The scales say so, for the {n}th time." for n in range(12)])
CALL = Does(tool=("weigh", {"text": "parcel"}))
ANSWER = Does(json={"answer": PARCEL.model_dump()}, pieces=40, pause_s=0.05)


@pytest.fixture
def desk(own_location: Location, model: ModelServer, tmp_path: Path) -> Iterator[Stack]:
    config = tmp_path / "agents.toml"
    entries = [
        ENTRY.format(name=kind, kind=kind, url=model.url + path) for kind, path in PROTOCOLS.items()
    ]
    config.write_text("".join(entries))
    (tmp_path / "team").touch()
    env = {"AGENTS_CONFIG": str(config), "TEAM": str(tmp_path / "team")}
    made = Stack(*own_location, FAST | env)
    yield made
    made.close()


@pytest.mark.timeout(300)  # two workers start in it
@pytest.mark.parametrize("agent", PROTOCOLS)
def test_all_at_once_and_a_worker_is_killed_in_the_middle(
    desk: Stack, model: ModelServer, tmp_path: Path, agent: str
) -> None:
    model.script(CALL, ANSWER)
    first = desk.worker()
    ask = desk.client.ask
    options: Any = {"session": "chat-5", "stream": True, "retry": QUICK}
    run = ask(agent, "How heavy is the parcel?", answer=Parcel | Refusal, **options)
    heard: list[RunEvent[Parcel | Refusal]] = []
    killed = False
    for event in run.events(timeout=WAIT_S):
        heard.append(event)
        if event.partial and not killed:
            killed = True
            first.kill()
            desk.worker()
    assert killed
    kinds = [event.type for event in heard]
    restart = kinds.index("restart")
    assert kinds[:restart].count("tool") == 1
    growing = [event.partial for event in heard if event.partial]
    before = [event.partial for event in heard[:restart] if event.partial]
    assert 0 < len(before) < len(growing)
    assert before[-1] != PARCEL.model_dump()  # it was in its middle
    assert growing[-1] == PARCEL.model_dump()
    assert heard[-1].type == "end"
    assert heard[-1].value == run.get(timeout=WAIT_S) == PARCEL
    # The tool is not run again, and its reply is not paid again.
    assert lines(tmp_path / "team") == ["weigh parcel"]
    asked = [seen.body for seen in model.requests]
    assert len(asked) == 3
    assert asked[1] == asked[2]

    model.script(Does(json={"answer": {"why": "It is gone."}}))
    run = ask(agent, "And now?", answer=Parcel | Refusal, **options)
    (*_, end) = run.events(timeout=WAIT_S)
    assert end.value == Refusal(why="It is gone.")
    (next_one,) = model.requests
    told = str(next_one.body)
    assert "How heavy is the parcel?" in told  # what was said, with the call and its result
    assert "weigh" in told
    assert "And now?" in told
    roles = [m.role for e in desk.client.sessions.read("chat-5") for m in e.messages]
    assert roles == ["user", "assistant", "tool", "assistant", "user", "assistant"]
