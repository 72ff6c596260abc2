"""Guards with real workers: what providers get, what watchers hear, what events say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from celery_agents.errors import AgentsError, AllCandidatesFailedError, BlockedError
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import COROUTINES, FAST, SOON_S, Stack
from tests.integration.test_canaries import _columns

pytestmark = pytest.mark.databases("one")

CONFIG = """
[agents.gpt]
kind = "openai"
model = "m"
base_url = "{url}/v1"
api_key_env = "FAKE_KEY"

[agents.other]
kind = "scripted"
replies = [{{ value = "from another one" }}]

[guards.privacy]
covers = ["agent:gpt"]
pii = ["email", "card"]
input = "mask"
output = "mask"

[guards.words]
covers = ["agent:gpt"]
words = ["project blue"]
input = "block"
"""
MAIL = "anna@example.org"
EVE = "eve.q7zr2xw9@example.org"
LEAKING = """
[agents.gpt]
kind = "openai"
model = "m"
base_url = "{url}/v1"
api_key_env = "FAKE_KEY"
tools = ["tests.support.leaking:look_up"]

[guards.privacy]
covers = ["agent:gpt", "agent:leaking"]
pii = ["email"]
output = "mask"

[guards.words]
covers = ["agent:leaking"]
words = ["project blue"]
output = "block"
"""
#: Where a person's data stand as they were asked; answers to calls are what a provider said.
ASKED, CALLS = {"steps.payload"}, {"calls.answer"}


@pytest.fixture
def leaking(
    database_url: str, redis_url: str, model: ModelServer, tmp_path: Path
) -> Iterator[Stack]:
    config = tmp_path / "agents.toml"
    config.write_text(LEAKING.format(url=model.url))
    env = {
        **FAST,
        "AGENTS_CONFIG": str(config),
        "AGENTS_MODULES": '["tests.support.leaking"]',
        "FAKE_KEY": "sk-fake-0123456789abcdef0123",
    }
    with closing(Stack(redis_url, database_url, tmp_path, env)) as made:
        made.worker(COROUTINES)
        yield made


def holders(stack: Stack, text: str) -> set[str]:
    """The columns of the journal in which a text stands."""
    return {column for column, told in _columns(stack).items() if text in told}


def test_beside_its_answer_an_agent_tells_nobody_what_is_masked(
    leaking: Stack, model: ModelServer
) -> None:
    call = Does(text=f"I look {EVE} up.", tool=("look_up", {"text": EVE}), pieces=9)
    model.script(call, Does(text="All is well."))
    run = leaking.client.ask("gpt", "Look her up", session="talk", stream=True)
    events = list(run.events(timeout=SOON_S))
    assert run.get(timeout=SOON_S) == "All is well."
    assert {"text", "tool"} <= {event.type for event in events}
    assert EVE not in repr(events)
    [exchange] = leaking.client.sessions.read("talk", timeout=SOON_S)
    assert EVE not in repr(exchange)
    assert "⟨EMAIL⟩ is known" in repr(exchange)
    assert holders(leaking, EVE) <= CALLS

    told = leaking.client.ask("leaking", EVE, stream=True)
    events = list(told.events(timeout=SOON_S))
    assert told.get(timeout=SOON_S) == "⟨EMAIL⟩"
    assert "⟨EMAIL⟩" in repr([event.data for event in events if event.type == "progress"])
    assert EVE not in repr(events)
    [entry] = leaking.client.streams.read("leaks", timeout=SOON_S)
    assert entry.data == {"of": ["⟨EMAIL⟩"]}
    logs = "".join(process.logs() for process in leaking.workers)
    assert [line for line in logs.splitlines() if EVE in line] == []
    failed = leaking.client.ask("leaking", f"{EVE} fails")
    with pytest.raises(AgentsError) as raised:
        failed.get(timeout=SOON_S)
    assert "⟨EMAIL⟩" in str(raised.value)
    assert EVE not in repr(raised.value.details)
    assert holders(leaking, EVE) == CALLS | ASKED


def test_a_blocked_report_ends_its_step_and_adds_nothing(leaking: Stack) -> None:
    run = leaking.client.ask("leaking", "All about Pr0ject - Blue$", stream=True)
    events = list(run.events(timeout=SOON_S))
    with pytest.raises(BlockedError, match="does not let a progress report of leaking pass"):
        run.get(timeout=SOON_S)
    assert "lue" not in repr([(event.text, event.data) for event in events])
    assert [*leaking.client.streams.read("leaks", timeout=SOON_S)] == []
    assert holders(leaking, "lue$") == ASKED
    assert {e["data"]["found"] for e in leaking.events(run.id, "guard")} == {"word"}


@pytest.fixture
def guarded(fast: Stack, model: ModelServer, tmp_path: Path) -> Stack:
    config = tmp_path / "agents.toml"
    config.write_text(CONFIG.format(url=model.url))
    fast.env |= {"AGENTS_CONFIG": str(config), "FAKE_KEY": "sk-fake-0123456789abcdef0123"}
    fast.worker(COROUTINES)
    return fast


def test_a_provider_gets_marks_and_watchers_hear_what_was_masked(
    guarded: Stack, model: ModelServer
) -> None:
    said = "Dear ⟨EMAIL_1⟩, eve@example.net paid by 4111 1111 1111 1111. " * 4
    shown = f"Dear {MAIL}, ⟨EMAIL⟩ paid by ⟨CARD⟩. " * 4
    model.script(Does(text=said, pieces=60))
    run = guarded.client.ask("gpt", f"Write to {MAIL}", stream=True)
    heard = "".join(event.text for event in run.events(timeout=SOON_S))
    assert run.get(timeout=SOON_S) == shown
    assert heard == shown
    sent = json.dumps(model.requests[0].body, ensure_ascii=False)
    assert MAIL not in sent
    assert "⟨EMAIL_1⟩" in sent
    found = {
        (e["data"]["side"], e["data"]["found"], e["data"]["count"])
        for e in guarded.events(run.id, "guard")
    }
    assert found == {("input", "email", "1"), ("output", "email", "4"), ("output", "card", "4")}


def test_what_is_blocked_reaches_no_provider_and_a_fallback_goes_on(
    guarded: Stack, model: ModelServer
) -> None:
    model.script(Does(text="never"))
    run = guarded.client.ask("gpt", "All about Pr0ject-Blue")
    with pytest.raises(BlockedError, match="The guard words does not let the input of gpt pass"):
        run.get(timeout=SOON_S)
    assert guarded.row(run.id).attempts == 1
    found = guarded.client.fallback(["gpt", "other"], "All about project blue")
    assert found.get(timeout=SOON_S) == "from another one"
    with pytest.raises(AllCandidatesFailedError):
        guarded.client.fallback(["gpt"], "project blue").get(timeout=SOON_S)
    assert not model.requests
