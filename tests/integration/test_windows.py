"""Windows with real workers: long sessions, a summary that is kept, a worker that is killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import FAST, SOON_S, Stack, eventually

pytestmark = pytest.mark.databases("sqlite")

CONFIG = """
[agents.gpt]
kind = "openai"
model = "m"
base_url = "{url}/v1"
tools = ["tests.support.agents:kill_once"]
window = {{ budget_tokens = 400, strategy = "summary", summary = "brief" }}

[agents.brief]
kind = "scripted"
replies = [{{ value = "They spoke of parcels." }}]

[agents.remembering]
kind = "function"
function = "tests.support.agents:chat"
window = 256
"""


@pytest.fixture
def windowed(
    database_url: str, redis_url: str, tmp_path: Path, model: ModelServer
) -> Iterator[Stack]:
    """A stack of the test's own, on each database, whose agents have windows."""
    config = tmp_path / "agents.toml"
    config.write_text(CONFIG.format(url=model.url))
    made = Stack(redis_url, database_url, tmp_path, FAST | {"AGENTS_CONFIG": str(config)})
    yield made
    made.close()


def exchanges(stack: Stack, session: str) -> list[Any]:
    return list(stack.client.sessions.read(session, timeout=SOON_S))


def test_a_summary_stands_for_what_is_left_out_and_is_kept_through_a_kill(
    windowed: Stack, model: ModelServer, tmp_path: Path
) -> None:
    worker = windowed.worker()
    model.script(Does(text="x " * 150, usage=False))  # nothing is learned of its sizes
    for n in range(4):
        windowed.client.ask("gpt", f"Question {n}?", session="s").get(timeout=SOON_S)
    kill = Does(tool=("kill_once", {"path": str(tmp_path / "killed")}), usage=False)
    model.script(kill, Does(text="Done.", usage=False))
    run = windowed.client.ask("gpt", "Kill it.", session="s")
    eventually(lambda: not worker.running, "it died")
    windowed.worker()
    assert run.get(timeout=SOON_S) == "Done."
    assert len(model.requests) == 2  # paid once: what the attempt after the crash asks is the same
    told = str(model.requests[-1].body)
    assert "They spoke of parcels." in told
    assert "Question 0?" not in told
    assert "Question 3?" in told
    outcome = run.outcome()
    assert outcome is not None
    assert outcome.left_out >= 1
    (noted, *_) = windowed.events(run.id, "window")
    assert noted["data"]["summarised"] == str(outcome.left_out)
    kept = exchanges(windowed, "s")[-1].summary
    assert (kept.text, kept.exchanges) == ("They spoke of parcels.", outcome.left_out)
    # The next one is told the same summary, and writes none: what it stands for has not changed.
    model.script(Does(text="Yes.", usage=False))
    windowed.client.ask("gpt", "Sure?", session="s").get(timeout=SOON_S)
    assert "They spoke of parcels." in str(model.requests[-1].body)
    assert exchanges(windowed, "s")[-1].summary == kept


def test_a_function_is_told_what_its_window_has_room_for(windowed: Stack) -> None:
    windowed.worker()
    said = [
        message
        for n in range(30)
        for message in (
            {"role": "user", "content": f'{{"name": "asked {n}", "of": "{"word " * 20}"}}'},
            {"role": "assistant", "content": "ok"},
        )
    ]
    run = windowed.client.ask("remembering", {"name": "now"}, messages=said)
    *told, newest = run.get(timeout=SOON_S)
    assert newest == "now"
    assert told == [f"asked {n}" for n in range(30 - len(told), 30)]
    assert 3 <= len(told) < 30
    outcome = run.outcome()
    assert outcome is not None
    assert outcome.left_out == 30 - len(told)
