"""Guards with real workers: what providers get, what watchers hear, what events say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from celery_agents.errors import AllCandidatesFailedError, BlockedError
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import COROUTINES, SOON_S, Stack

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
