"""Many who watch, over few connections; what is told is written here as workers write it."""

from __future__ import annotations

import asyncio
import json
import queue
import random
import threading
import time
from typing import Any

import pytest
import redis
from pydantic import BaseModel

from celery_agents import Client, RunEvent, names
from celery_agents.client import events, reading, watching
from celery_agents.client.events import FIRST, Events
from celery_agents.client.reading import StreamReader
from celery_agents.client.run import Run
from celery_agents.contracts.schema import form_of
from celery_agents.errors import BadAnswerError, InvalidPayloadError, ResultTimeoutError
from tests.support.drawn import costly
from tests.support.stored_results import worker_says

WAIT_S = 30.0


def tell(
    store: Any, run_id: str, n: int, *, token: int = 1, kind: str = "text", **data: Any
) -> None:
    """Write the event of that number of a run's root."""
    event = {"type": kind, "step_id": run_id, "agent": "a", "token": token, "n": n, **data}
    store.xadd(names.STREAM + run_id, {names.STREAM_FIELD: json.dumps(event)})


def tell_all(
    client: Client, store: redis.Redis, runs: list[Run[Any]], times: int, connections: list[int]
) -> None:
    """Tell each run so often, ten times a second, and end it; count the connections meanwhile."""
    database = str(store.connection_pool.connection_kwargs["db"])
    for n in range(times):
        began = time.monotonic()
        pipeline = store.pipeline(transaction=False)
        for run in runs:
            tell(pipeline, run.id, n + 1, text=f"{n},", data={"at": time.monotonic()})
        pipeline.execute()
        connections.append(sum(one["db"] == database for one in store.client_list()))
        time.sleep(max(0.0, 0.1 - (time.monotonic() - began)))
    for run in runs:
        worker_says(client, run.id, "done")


def test_many_watchers_get_each_event_once_over_few_connections(
    client: Client, store: redis.Redis
) -> None:
    """300 runs in full, each told 10 times a second; 50 who watch go away and come back."""
    count, times, gone = costly(300, part=3), 30, costly(50, part=3)
    runs: list[Run[Any]] = [Run(client.runs, f"run{n}") for n in range(count)]
    rng = random.Random(7)
    leave_at = {n: rng.randrange(2, times - 2) for n in rng.sample(range(count), gone)}
    delays: list[float] = []
    connections: list[int] = []

    async def some(place: int, after: str | None) -> tuple[str, str | None]:
        """Watch to the end, or to where this one goes away: the text, and the last id."""
        text = ""
        async for event in runs[place].events(after=after, timeout=WAIT_S):
            if event.type == "end":
                return text, None
            delays.append(time.monotonic() - float(str(event.data["at"])))
            text, after = text + event.text, event.id
            if leave_at.get(place) == text.count(","):
                break
        del leave_at[place]
        return text, after

    async def watch(place: int) -> str:
        text, after = await some(place, None)
        while after is not None:
            more, after = await some(place, after)
            text += more
        return text

    async def watch_all() -> list[str]:
        return await asyncio.gather(*(watch(n) for n in range(count)))

    told = (client, store, runs, times, connections)
    producer = threading.Thread(target=tell_all, args=told)
    producer.start()
    texts = asyncio.run(watch_all())
    producer.join()
    assert set(texts) == {"".join(f"{n}," for n in range(times))}
    assert not leave_at
    assert 2 <= max(connections) <= 10  # this producer's, and the watchers'
    delays.sort()
    p50, p99 = (1000 * delays[int(len(delays) * part)] for part in (0.5, 0.99))
    print(f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, at most {max(connections)} connections")


class Point(BaseModel):
    """An answer."""

    x: int
    y: int = 0


def typed(client: Client) -> Run[Point]:
    """The handle of a run that answers with a point."""
    return client.runs.handle("r", Point)


def tell_point(store: redis.Redis, *pieces: str) -> None:
    """Tell the begin of a step that answers with a point, and these texts."""
    form = form_of(Point.model_json_schema())
    tell(store, "r", 1, kind="state", data={"state": "running", "form": form})
    for n, piece in enumerate(pieces, 2):
        tell(store, "r", n, text=piece)


PIECES = ('{"x": 1', ', "y": ', "2}")
PARTIALS = [{}, {"x": 1}, {"x": 1, "y": 2}]


def test_answers_of_a_type_grow_and_the_end_has_the_instance(
    client: Client, store: redis.Redis
) -> None:
    tell_point(store, *PIECES)
    worker_says(client, "r", {"x": 1, "y": 2})
    events = [*typed(client).events(timeout=WAIT_S)]
    assert [e.partial for e in events if e.type == "text"] == PARTIALS
    assert events[-1].value == Point(x=1, y=2)
    assert "value" not in events[-1].compact()
    untyped = [*client.runs.handle("r").events(timeout=WAIT_S)]
    assert {e.type for e in untyped if e.partial is not None} == set()
    assert untyped[-1].value == {"x": 1, "y": 2}


@pytest.mark.parametrize("place", [1, 2, 3])
def test_who_comes_back_has_what_was_said_before(
    client: Client, store: redis.Redis, place: int
) -> None:
    tell_point(store, *PIECES)
    worker_says(client, "r", {"x": 1, "y": 2})
    whole = [*typed(client).events(timeout=WAIT_S)]
    assert [*typed(client).events(after=whole[place - 1].id, timeout=WAIT_S)] == whole[place:]


def test_who_comes_back_to_a_run_that_another_watches_has_it_too(
    client: Client, store: redis.Redis
) -> None:
    tell_point(store, *PIECES[:2])
    other = iter(typed(client).events(timeout=WAIT_S))
    second = [next(other), next(other)][1]
    mine = iter(typed(client).events(after=second.id, timeout=WAIT_S))
    assert next(mine).partial == PARTIALS[1]
    tell(store, "r", 4, text=PIECES[2])
    assert next(mine).partial == PARTIALS[2]


def test_an_answer_that_is_of_another_type_is_an_error_at_the_end(
    client: Client, store: redis.Redis
) -> None:
    tell_point(store, *PIECES)
    worker_says(client, "r", {"x": "far"})
    with pytest.raises(BadAnswerError, match="no Point"):
        [*typed(client).events(timeout=WAIT_S)]


def test_watchers_of_one_run_share_its_reading(client: Client, store: redis.Redis) -> None:
    run: Run[Any] = Run(client.runs, "r")
    tell(store, "r", 1, text="a")
    watchers = [run.events(timeout=WAIT_S) for _ in range(20)]
    firsts = [next(iterator) for iterator in (iter(events) for events in watchers)]
    assert {event.text for event in firsts} == {"a"}


def test_a_void_event_is_not_told_and_a_missing_one_is(
    client: Client, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_SNAPSHOT_S", 0.2)
    tell(store, "r", 1, text="a")
    tell(store, "r", 1, text="a")  # written twice
    tell(store, "r", 1, token=2, kind="restart")
    tell(store, "r", 2, text="b")  # of a worker that was frozen
    tell(store, "r", 2, token=2, text="c")
    worker_says(client, "r", "done")
    assert kinds(client) == ["text", "restart", "text", "end"]
    tell(store, "r", 4, token=2, text="e")  # 3 was lost
    told = kinds(client)  # no worker is there to read the journal
    assert sorted(told[:-1]) == ["restart", "snapshot", "text", "text", "text"]
    assert told[-1] == "end"


def kinds(client: Client) -> list[str]:
    run: Run[Any] = Run(client.runs, "r")
    return [event.type for event in run.events(timeout=WAIT_S)]


def test_a_slow_watcher_gets_all_of_it(client: Client, store: redis.Redis) -> None:
    count = 4_500
    pipeline = store.pipeline(transaction=False)
    for n in range(count):
        tell(pipeline, "r", n + 1, text=f"{n},")
    pipeline.execute()
    worker_says(client, "r", "done")
    run: Run[Any] = Run(client.runs, "r")
    heard: list[RunEvent] = []
    for event in run.events(timeout=WAIT_S):
        if not heard:
            time.sleep(0.3)
        heard.append(event)
    assert "".join(e.text for e in heard) == "".join(f"{n}," for n in range(count))
    assert heard[-1].type == "end"


class Again:
    """Who come again, instead of a thread that reads for them."""

    def __init__(self) -> None:
        self.added: list[Events[Any]] = []

    def add(self, watcher: Events[Any]) -> None:
        self.added.append(watcher)

    def remove(self, watcher: Events[Any]) -> None:
        """Nothing reads for it."""


def taken(watcher: Events[Any]) -> str:
    """Take all that is there for a watcher; the texts."""
    texts = ""
    while not watcher._queue.empty():
        texts += watcher._taken(watcher._queue.get()).text or ""
    return texts


def test_who_catches_up_amid_a_read_lacks_nothing(
    client: Client, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_BEHIND", 3)
    for n in range(10):
        tell(store, "r", n + 1, text=str(n))
    again, run = Again(), Run[Any](client.runs, "r")
    heard: list[str] = []
    lacking: list[Events[Any]] = []
    slow = Events[Any](again, run, FIRST, WAIT_S)

    class Beside(Events[Any]):
        """Another one, who is told after the slow one of each."""

        def put(self, told: Any) -> None:
            if told.text == "6":  # the slow one was left behind at three
                heard.append(taken(slow))

    about = store.connection_pool.connection_kwargs
    raw = redis.Redis(**{k: about[k] for k in ("host", "port", "db", "password")})
    reader = StreamReader(raw, lambda _, watcher: lacking.append(watcher))
    for watcher in (slow, Beside(again, run, FIRST, WAIT_S)):
        reader.join(watcher)
    reader.read()
    assert (heard, again.added, lacking) == (["0123"], [slow], [])
    while again.added:
        reader.join(again.added.pop())
        heard.append(taken(slow))
    assert "".join(heard) == "0123456789"
    assert len(reader.channels["r"].watchers) == 2
    assert not lacking
    reader.close()


def test_who_catches_up_amid_what_it_is_brought_up_with_lacks_nothing(
    client: Client, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_BEHIND", 3)
    monkeypatch.setattr(reading, "_MOST", 3)
    for n in range(10):
        tell(store, "r", n + 1, text=str(n))
    again, run = Again(), Run[Any](client.runs, "r")
    lacking: list[Events[Any]] = []
    about = store.connection_pool.connection_kwargs
    raw = redis.Redis(**{k: about[k] for k in ("host", "port", "db", "password")})
    reader = StreamReader(raw, lambda _, watcher: lacking.append(watcher))
    first, slow = (Events[Any](again, run, FIRST, WAIT_S) for _ in range(2))
    reader.join(first)
    told = ""
    while len(told) < 10:
        reader.read()
        told += taken(first)
    heard: list[str] = []
    tells = reader._tell

    def tell_and_take(channel: Any, entries: Any, watchers: list[Events[Any]]) -> None:
        tells(channel, entries, watchers)
        if slow.behind:  # it takes all before more of them are read
            heard.append(taken(slow))

    monkeypatch.setattr(reader, "_tell", tell_and_take)
    reader.join(slow)
    assert (heard, again.added, lacking) == (["0123"], [slow], [])
    while again.added:
        reader.join(again.added.pop())
        heard.append(taken(slow))
    assert "".join(heard) == "0123456789"
    assert not lacking
    reader.close()


def test_who_takes_all_as_it_falls_behind_comes_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_BEHIND", 0)
    again = Again()
    slow = Events[Any](again, Run[Any](client.runs, "r"), FIRST, WAIT_S)
    takes = threading.Thread(target=taken, args=(slow,))

    class Counted(queue.SimpleQueue[Any]):
        def qsize(self) -> int:
            """Somebody takes what is counted, before the count is looked at."""
            found = super().qsize()
            takes.start()
            takes.join(0.2)
            return found

    slow._queue = Counted()
    slow.put(RunEvent(id="1-1", type="text", step_id="r"))
    takes.join(WAIT_S)
    assert again.added == [slow]
    assert not slow.behind


def test_nothing_within_the_time_is_an_error(client: Client) -> None:
    run: Run[Any] = Run(client.runs, "r")
    with pytest.raises(ResultTimeoutError, match="No event of r"):
        next(iter(run.events(timeout=0.1)))


@pytest.mark.parametrize("after", ["", "x", "1", "1-", "-1", "1-1-1"])
def test_what_is_no_id_of_an_event(client: Client, after: str) -> None:
    run: Run[Any] = Run(client.runs, "r")
    with pytest.raises(InvalidPayloadError, match="after"):
        run.events(after=after)


def test_nobody_watches_no_thread_reads(client: Client, store: redis.Redis) -> None:
    worker_says(client, "r", "done")
    assert kinds(client) == ["end"]
    until = time.monotonic() + WAIT_S
    while any(t.name == "agents-events" for t in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.05)
