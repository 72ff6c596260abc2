"""Streams of runs, through real workers: what a watcher hears, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from celery_agents import Client, RunEvent
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import SOON_S, Stack

TEXT = "The quick brown fox jumps over the lazy dog, again and again, until it is tired. " * 4


def text_of(events: Iterable[RunEvent]) -> str:
    """The text as a watcher has it, who drops what was said before a restart."""
    text = ""
    for event in events:
        text = "" if event.type == "restart" else text + event.text
    return text


def test_text_comes_while_it_is_written_and_the_end_is_the_last(
    client: Client, model: ModelServer
) -> None:
    model.script(Does(text=TEXT, pieces=30, pause_s=0.05))
    run = client.ask("gpt", "tell", stream=True)
    heard = [(event, run.ready()) for event in run.events(timeout=SOON_S)]
    events = [event for event, _ in heard]
    assert text_of(events) == TEXT
    early = [event for event, ready in heard if event.type == "text" and not ready]
    assert len(early) > 3
    assert (events[0].type, events[0].data["state"]) == ("state", "running")
    assert (events[-2].type, events[-2].data["state"]) == ("state", "succeeded")
    outcome = events[-1].outcome
    assert events[-1].type == "end"
    assert outcome is not None
    assert outcome.value == TEXT


def test_the_same_on_an_event_loop(client: Client, model: ModelServer) -> None:
    model.script(Does(text=TEXT, pieces=10, pause_s=0.02))

    async def watched() -> list[RunEvent]:
        run = await client.ask.aio("gpt", "tell", stream=True)
        return [event async for event in run.events(timeout=SOON_S)]

    events = asyncio.run(watched())
    assert text_of(events) == TEXT
    assert events[-1].type == "end"


def test_a_run_that_was_not_asked_to_tells_its_end_alone(
    client: Client, stack: Stack, model: ModelServer
) -> None:
    model.script(Does(text="quiet"))
    run = client.ask("gpt", "tell")
    (end,) = run.events(timeout=SOON_S)
    assert end.outcome is not None
    assert end.outcome.value == "quiet"
    assert not stack.redis.exists(f"agents:stream:{run.id}")
