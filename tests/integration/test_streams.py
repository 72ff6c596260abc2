"""Streams of runs, through real workers: what a watcher hears, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from celery_agents import Client, RunEvent
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import FAST, SOON_S, Stack, celery
from tests.support.service import APP

pytestmark = pytest.mark.databases("sqlite")

TEXT = "The quick brown fox jumps over the lazy dog, again and again, until it is tired. " * 4


@pytest.fixture
def own(
    redis_url: str, sqlite_journal_url: str, tmp_path: Path, model: ModelServer
) -> Iterator[Stack]:
    """A stack of the test's own with short times, an agent that is a model, and no worker yet."""
    config = tmp_path / "agents.toml"
    about = f'kind = "openai"\nmodel = "m"\nbase_url = "{model.url}/v1"\napi_key_env = "FAKE_KEY"'
    config.write_text(f"[agents.gpt]\n{about}\n")
    env = {"AGENTS_CONFIG": str(config), "FAKE_KEY": "sk-fake-0123456789abcdef0123"}
    made = Stack(redis_url, sqlite_journal_url, tmp_path, {**FAST, **env})
    yield made
    made.close()


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


def test_members_are_told(client: Client, model: ModelServer) -> None:
    model.script(Does(text="A fine answer, all of it."))
    run = client.gather(["gpt", "shout"], "hello", how="concat", stream=True)
    events = [*run.events(timeout=SOON_S)]
    told = {e.step_id for e in events if e.type == "state" and e.data["state"] == "succeeded"}
    assert len(told) == 3  # both members, and the run itself
    assert run.id in told
    assert text_of(events) == "A fine answer, all of it."
    begun = [e.data["member"] for e in events if e.data.get("state") == "running"]
    assert len(set(begun)) == 3


def test_going_on_after_an_event_tells_each_once(client: Client, model: ModelServer) -> None:
    model.script(Does(text=TEXT, pieces=30, pause_s=0.02))
    run = client.ask("gpt", "tell", stream=True)
    heard: list[RunEvent] = []
    ended = False
    while not ended:  # a watcher who goes away after each third event
        after = heard[-1].id if heard else None
        with Client(client.celery.conf.broker_url) as other:
            events = other.runs.handle(run.id).events(after=after, timeout=SOON_S)
            for _, event in zip(range(3), events, strict=False):
                heard.append(event)
                ended = event.type == "end"
    whole = [*run.events(timeout=SOON_S)]
    assert [e.id for e in heard] == [e.id for e in whole]
    assert text_of(heard) == TEXT
    (end,) = run.events(after=heard[-1].id, timeout=SOON_S)
    assert end.outcome == heard[-1].outcome


def test_a_worker_is_killed_in_the_middle(own: Stack, model: ModelServer) -> None:
    model.script(Does(text=TEXT, pieces=40, pause_s=0.05))
    first = own.worker()
    run = own.client.ask("gpt", "tell", stream=True)
    events = run.events(timeout=SOON_S)
    heard: list[RunEvent] = []
    killed = False
    for event in events:
        heard.append(event)
        if event.type == "text" and not killed:
            killed = True
            first.kill()
            own.worker()
    kinds = [e.type for e in heard]
    assert kinds.count("restart") >= 1
    assert kinds.index("text") < kinds.index("restart")
    assert text_of(heard) == TEXT
    assert heard[-1].outcome is not None
    assert heard[-1].outcome.value == TEXT


class Fable(BaseModel):
    """An answer."""

    title: str
    lines: list[str]


FABLE = Fable(title="The fox", lines=[TEXT, TEXT])
ANSWERS: list[tuple[Any, Any]] = [
    (Fable, FABLE.model_dump()),
    (list[Fable], {"answer": [FABLE.model_dump()]}),
]


@pytest.mark.parametrize(("answer", "said"), ANSWERS)
def test_an_answer_of_a_type_grows_while_it_is_written(
    client: Client, model: ModelServer, answer: Any, said: Any
) -> None:
    model.script(Does(json=said, pieces=20, pause_s=0.05))
    run = client.ask("gpt", "tell", answer=answer, stream=True)
    events = [*run.events(timeout=SOON_S)]
    partials = [e.partial for e in events if e.type == "text"]
    assert len({json.dumps(p) for p in partials}) > 3
    value: Any = run.get()
    assert value == (FABLE if answer is Fable else [FABLE])
    assert events[-1].value == value
    outcome = events[-1].outcome
    assert outcome is not None
    assert partials[-1] == outcome.value
    assert all(e.partial is None for e in events if e.type != "text")


def test_redis_is_emptied_in_the_middle(own: Stack, model: ModelServer) -> None:
    model.script(Does(text=TEXT, pieces=40, pause_s=0.05))
    own.worker()
    run = own.client.ask("gpt", "tell", stream=True)
    events = run.events(timeout=SOON_S)
    first = next(event for event in events if event.type == "text")
    own.redis.flushdb()
    heard = [*run.events(after=first.id, timeout=SOON_S)]
    snapshot: Any = next(event for event in heard if event.type == "snapshot")
    assert snapshot.data["steps"][0]["id"] == run.id
    assert heard[-1].outcome is not None
    assert heard[-1].outcome.value == TEXT


def test_going_on_where_the_stream_is_gone_tells_a_snapshot_and_the_end(
    client: Client, stack: Stack, model: ModelServer
) -> None:
    model.script(Does(text=TEXT))
    run = client.ask("gpt", "tell", stream=True)
    heard = [*run.events(timeout=SOON_S)]
    stack.redis.delete(f"agents:stream:{run.id}")
    snapshot, end = run.events(after=heard[1].id, timeout=SOON_S)
    assert (snapshot.type, snapshot.data["state"]) == ("snapshot", "succeeded")
    assert end.outcome == heard[-1].outcome


def test_a_stream_expires(client: Client, stack: Stack, model: ModelServer) -> None:
    model.script(Does(text="short"))
    run = client.ask("gpt", "tell", stream=True)
    assert [*run.events(timeout=SOON_S)]
    assert 0 < stack.redis.ttl(f"agents:stream:{run.id}") <= 3_600


def test_a_secret_over_many_pieces_is_told_to_nobody(
    client: Client, stack: Stack, model: ModelServer
) -> None:
    key = "sk-live-" + "0123456789abcdef0123456789"
    model.script(Does(text=f"The key is {key}, and that was it. {TEXT}", pieces=60, pause_s=0.02))
    run = client.ask("gpt", "tell", stream=True)
    text = text_of(run.events(timeout=SOON_S))
    assert text == f"The key is ***, and that was it. {TEXT}"
    assert "0123456789" not in str(stack.redis.xrange(f"agents:stream:{run.id}"))


def test_a_step_that_nobody_watches_writes_nothing_for_it(client: Client, stack: Stack) -> None:
    def commands() -> dict[str, int]:
        stats: Any = stack.redis.info("commandstats")
        kinds = ("xadd", "xread", "xrange", "expire")
        return {kind: stats.get(f"cmdstat_{kind}", {"calls": 0})["calls"] for kind in kinds}

    before = commands()
    for run in client.ask.many("noop", range(50)):
        run.get(timeout=SOON_S)
    assert commands() == before
    assert [*client.ask("noop", 1, stream=True).events(timeout=SOON_S)]
    assert commands()["xadd"] > before["xadd"]


def test_a_shell_watches(client: Client, stack: Stack, model: ModelServer) -> None:
    model.script(Does(text=TEXT))
    run = client.ask("gpt", "tell", stream=True)
    shown = celery("-A", APP, "agents", "watch", run.id, env=stack.env)
    assert shown.returncode == 0, shown.stderr
    assert TEXT in shown.stdout
    assert "[end]" in shown.stdout
    told = celery("-A", APP, "agents", "watch", run.id, "--json", env=stack.env)
    events = [json.loads(line) for line in told.stdout.splitlines()]
    assert "".join(event.get("text", "") for event in events) == TEXT
    assert events[-1]["outcome"]["value"] == TEXT
    after = celery(
        "-A", APP, "agents", "watch", run.id, "--json", "--after", events[-2]["id"], env=stack.env
    )
    assert [json.loads(line) for line in after.stdout.splitlines()] == events[-1:]
