"""What agents are asked and answer, encrypted from client to row: seen by nobody without a key."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from celery import chain
from cryptography.fernet import Fernet
from sqlalchemy import MetaData, select

from celery_agents import Client, RetryPolicy
from celery_agents.sealing import KEYS
from tests.integration.harness import FAST, SOON_S, Stack, eventually, watching

SECRET = "sentinel9Kd4Tn8Vb3Hm6"
QUICK = RetryPolicy(base_delay_s=0.05, max_attempts=3)
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


class Sealed(Stack):
    """A stack whose workers and client have keys."""

    def __init__(self, redis_url: str, database_url: str, directory: Path, *keys: str) -> None:
        env = {**FAST, "AGENTS_MODULES": '["tests.support.agents", "tests.support.discreet"]'}
        super().__init__(redis_url, database_url, directory, {**env, KEYS: ",".join(keys)})
        self.client.close()
        self.client = Client(redis_url, fernet_keys=keys)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def sealed(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> Iterator[Sealed]:
    url = request.getfixturevalue(f"{request.param}_journal_url")
    made = Sealed(redis_url, url, tmp_path, OLD)
    yield made
    made.close()


@contextmanager
def overhearing(stack: Stack) -> Iterator[list[str]]:
    """All that is sent to Redis meanwhile, by anybody."""
    heard: list[str] = []
    over = threading.Event()

    def listen() -> None:
        with stack.redis.monitor() as monitor:
            ready.set()
            for told in monitor.listen():
                heard.append(told["command"])
                if over.is_set():
                    return

    ready = threading.Event()
    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert ready.wait(SOON_S)
    try:
        yield heard
    finally:
        over.set()
        stack.redis.ping()
        thread.join(SOON_S)


def everything(stack: Stack) -> str:
    """The journal as somebody has it who took its files, or its server's tables."""
    url = stack.engine.url
    if stack.engine.dialect.name == "sqlite":
        files = [Path(f"{url.database}{end}") for end in ("", "-wal")]
        return "\n".join(f.read_bytes().decode("latin-1") for f in files if f.exists())
    held = MetaData()
    held.reflect(stack.engine)
    with stack.engine.connect() as connection:
        rows = {t.name: connection.execute(select(t)).all() for t in held.sorted_tables}
    return repr(rows)


def ask_in_every_way(client: Client) -> list[str]:
    """Runs of each kind; the ids of the first ones, which wait for nobody."""
    told = {"a": [SECRET, 1]}
    long = f"{SECRET} {'word ' * 300}"  # which members share with their pattern
    watched = client.ask("repeats", SECRET, retry=QUICK, stream=True, instructions=SECRET)
    texts = [e.text for e in watched.events(timeout=SOON_S) if e.type == "text"]
    assert SECRET in "".join(texts)
    runs = [
        client.ask("same", told, id=f"chosen-{time.time_ns()}"),
        client.map("repeats", [SECRET, f"2 {SECRET}"], retry=QUICK, instructions=long),
        client.fallback(["bad", "same"], long),
        client.gather(["same", "shout"], long, how="concat"),
        client.vote(["yes", "no", "yes"], long, choices=["yes", "no"], instructions=SECRET),
        client.ask("kept", SECRET),
    ]
    values = [run.get(timeout=SOON_S) for run in runs]
    assert values[0] == told
    assert list(values[1].results) == [f"{SECRET}.", f"2 {SECRET}."]
    assert values[2] == long
    assert client.ask("kept", SECRET).get(timeout=SOON_S) == SECRET
    links = [client.ask.s("same", SECRET), client.ask.s("shout")]
    assert chain(*links).delay().get(timeout=SOON_S) == SECRET.upper()
    for _ in range(2):
        client.ask("same", SECRET, session="talk").get(timeout=SOON_S)
    [first, _] = client.sessions.read("talk", timeout=SOON_S)
    assert [m.text for m in first.messages] == [SECRET, SECRET]
    person = client.vote(["yes", "no"], long, escalate="person", choices=["yes", "no", SECRET])
    [wish] = eventually(lambda: client.waiting(timeout=SOON_S))
    assert SECRET in wish.choices
    client.runs.approve(person.id, SECRET, key=wish.key)
    assert person.get(timeout=SOON_S).option == SECRET
    return [watched.id, *(run.id for run in runs), person.id]


def test_nobody_without_a_key_sees_what_is_asked_and_answered(sealed: Sealed) -> None:
    sealed.worker()
    with overhearing(sealed) as heard, watching(sealed) as seen:
        ids = ask_in_every_way(sealed.client)
        shown = [sealed.client.runs.show(i, answers=True, timeout=SOON_S) for i in ids]
        eventually(lambda: {e["uuid"] for e in seen if e["type"] == "task-succeeded"} >= {*ids})
    assert SECRET in repr(shown)  # those with the key see it all the same
    eventually(lambda: not sealed.unsettled())
    places = {
        "redis": "\n".join(heard),
        "events": repr(seen),
        "journal": everything(sealed),
        "log": sealed.workers[0].logs(),
    }
    assert all(len(told) > 1_000 for told in places.values())
    assert "$enc" in places["redis"]
    assert "$enc" in places["journal"]
    # As it is, and as JSON or Base64 of a longer text would hold it.
    hits = [place for place, told in places.items() if SECRET.casefold() in told.casefold()]
    assert hits == []
