"""Progress of steps, as a real worker's events bring it to whoever watches (Flower)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from celery.events.state import State

from celery_agents import Client
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import (
    COROUTINES,
    PREFORK,
    SOON_S,
    THREADS,
    Stack,
    eventually,
    watching,
)

pytestmark = pytest.mark.databases("sqlite")

KEY = "sk-live-" + "0123456789abcdef0123456789"


def progress_of(seen: list[dict[str, Any]], run_id: str) -> list[dict[str, Any]]:
    return [e for e in seen if e["type"] == "task-progress" and e["uuid"] == run_id]


@pytest.mark.parametrize("args", [COROUTINES, THREADS, PREFORK], ids=["ours", "threads", "prefork"])
def test_progress_arrives_from_each_pool(fast: Stack, args: Sequence[str]) -> None:
    worker = fast.worker(args)
    with watching(fast) as seen:
        run = fast.client.ask("reports", {"note": f"by {KEY}"})
        assert run.get(timeout=SOON_S) == "done"
        eventually(lambda: len(progress_of(seen, run.id)) == 3)
        told = progress_of(seen, run.id)
        assert [(e["done"], e["of"]) for e in told] == [(1, 3), (2, 3), (3, 3)]
        assert {e["note"] for e in told} == {"by ***"}
        assert {e["hostname"] for e in told} == {worker.name}
        assert KEY not in json.dumps(seen)


def test_fields_of_celerys_own_names_are_left_out(
    client: Client, stack: Stack, events: list[dict[str, Any]]
) -> None:
    run = client.ask("reports", {"uuid": "mine", "type": "other"})
    assert run.get(timeout=SOON_S) == "done"
    eventually(lambda: len(progress_of(events, run.id)) == 3)
    stack.workers[0].wait_for_log("goes without type, uuid")


def test_streamed_text_arrives_as_it_grows(
    client: Client, model: ModelServer, events: list[dict[str, Any]]
) -> None:
    model.script(Does(text="one two three four five"))
    run = client.ask("streamed", "count")
    assert run.get(timeout=SOON_S) == "one two three four five"
    eventually(lambda: progress_of(events, run.id))
    first = progress_of(events, run.id)[0]
    assert first["text"].startswith("one")
    assert first["characters"] == len(first["text"])


def test_flowers_state_of_a_step_follows_its_progress(
    client: Client, events: list[dict[str, Any]]
) -> None:
    run = client.ask("reports", {})
    run.get(timeout=SOON_S)
    eventually(lambda: any(e["type"] == "task-succeeded" and e["uuid"] == run.id for e in events))
    eventually(lambda: len(progress_of(events, run.id)) == 3)
    state, states = State(), []
    for event in [e for e in events if e.get("uuid") == run.id]:
        state.event(dict(event))
        states.append(state.tasks[run.id].state)
    assert states[-1] == "SUCCESS"
