"""Those who read streams, while whoever writes, serves and reads is killed."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from celery_agents import Client, StreamEvent
from celery_agents.errors import AgentsError
from deploy.local.state import ROOT
from tests.chaos.scenario import Numbers, scenario
from tests.chaos.scenarios.load import strike
from tests.chaos.stand import Stand, eventually, kept_running
from tests.chaos.subscriber import NAME, TOPIC
from tests.support.forks import Fork
from tests.support.service import CHECKOUT

#: Two of those who write add to the same stream.
WRITERS, WRITTEN, FOLLOWERS = 4, 3, 3
#: Events of one append, and messages told at a time.
PORTION = 100
#: Messages of a page, among which the urgent ones come first.
_PAGE = 500
_Place = tuple[str, int]


@scenario("followers", journal="postgres")
def followers(stand: Stand) -> Numbers:
    """Four write, three follow, workers are killed: each is told each event once, in one order."""
    count = stand.size(100_000, 1_600)
    workers, began = stand.workers(2), time.monotonic()
    heard: list[list[_Place]] = [[] for _ in range(FOLLOWERS)]
    failed = list[BaseException]()
    threads = [
        threading.Thread(target=_kept, args=(failed, _write, stand, n, count), daemon=True)
        for n in range(WRITERS)
    ]
    threads += [
        threading.Thread(target=_kept, args=(failed, _follow, stand, n, took, count), daemon=True)
        for n, took in enumerate(heard)
    ]
    kills = 0
    with kept_running(workers):
        for thread in threads:
            thread.start()
        for kill in range(stand.size(10, 3)):
            most = count * (kill + 1) // (stand.size(10, 3) + 1)
            eventually(lambda m=most: len(heard[0]) >= m or failed, "a part", timeout_s=300)  # type: ignore[misc]
            strike("kill", stand, workers)
            kills += 1
        until = time.monotonic() + stand.size(600, 120)
        for thread in threads:
            thread.join(timeout=max(until - time.monotonic(), 0.0))
    assert not failed, failed
    lengths = Counter(_stream_of(n) for n in range(WRITERS) for _ in range(count // WRITERS))
    written = {(stream, seq) for stream, length in lengths.items() for seq in range(length)}
    for took in heard:
        assert Counter(took) == Counter(written), "an event was told another number of times"
        assert took == heard[0], "followers were told another order"
        for stream in lengths:
            assert _rises(seq for one, seq in took if one == stream)
    took_s = time.monotonic() - began
    return {"events": count, "followers": FOLLOWERS, "kill": kills, "took_s": took_s}


@scenario("topics")
def topics(stand: Stand) -> Numbers:
    """A subscriber is killed amid messages, and comes back: none is lost, the urgent come first."""
    count, kills = stand.size(10_000, 300), stand.size(10, 3)
    workers, began = stand.workers(2), time.monotonic()
    file, faults = stand.stack.directory / "heard", Counter[str]()
    with kept_running(workers):
        portions = [range(at, min(at + PORTION, count)) for at in range(0, count, PORTION)]
        for place, portion in enumerate(portions):
            _publish(stand, portion)
            while (place + 1) * kills // len(portions) > faults["subscriber"]:
                with _subscriber(stand, file, faults["subscriber"]):
                    have = len(_bodies(file))
                    eventually(lambda h=have: len(_bodies(file)) > h + 5, "some", timeout_s=60)  # type: ignore[misc]
                faults["subscriber"] += 1
                if faults["subscriber"] % 3 == 0:
                    faults[strike("kill", stand, workers)] += 1
        with _subscriber(stand, file, kills):
            whole = set(range(count))
            eventually(lambda: set(_bodies(file)) == whole, "all were heard", timeout_s=180)
        with Client(stand.stack.redis_url) as other:
            late = [m.priority for m in other.topics.listen(TOPIC, "late", idle_s=1.0)]
    assert len(late) == count
    pages = [late[at : at + _PAGE] for at in range(0, count, _PAGE)]
    assert all(page == sorted(page) for page in pages), "an urgent message came late"
    assert NAME != "late"
    again = len(_bodies(file)) - count
    took_s = time.monotonic() - began
    return {"messages": count, **faults, "heard_again": again, "took_s": took_s}


def _kept(failed: list[BaseException], work: Any, *about: Any) -> None:
    try:
        work(*about)
    except BaseException as error:  # noqa: BLE001 - the scenario tells it
        failed.append(error)


def _write(stand: Stand, number: int, count: int) -> None:
    with Client(stand.stack.redis_url) as client:
        each = count // WRITERS
        for at in range(0, each, PORTION):
            told = [
                StreamEvent(kind="told", data={"n": n}, key=f"{number}/{n}")
                for n in range(at, min(at + PORTION, each))
            ]
            about: Any = (_stream_of(number), told)
            _until_done(lambda about=about: client.events.append(*about, timeout=5))


def _stream_of(writer: int) -> str:
    return f"order/{writer % WRITTEN}"


def _follow(stand: Stand, number: int, took: list[_Place], count: int) -> None:
    """Ask for page after page; one whose answer was lost again."""
    done: str | None = None
    with Client(stand.stack.redis_url) as client:
        while len(took) < count // WRITERS * WRITERS:
            about: Any = {"of": "order/", "done": done, "timeout": 5}
            found, done = _until_done(lambda about=about: client.events.page(f"f{number}", **about))
            took += [(entry.stream, entry.seq) for entry in found]
            if not found:
                time.sleep(0.2)


def _until_done(ask: Any) -> Any:
    until = time.monotonic() + 120
    while True:
        try:
            return ask()
        except AgentsError:  # its worker was killed
            if time.monotonic() > until:
                raise


def _publish(stand: Stand, numbers: range) -> None:
    for urgent in range(10):
        told = [n for n in numbers if n % 10 == urgent]
        about: Any = {"priority": 9 - urgent, "key": f"{numbers.start}-{urgent}"}
        _until_done(lambda told=told, about=about: _told(stand, told, about))


def _told(stand: Stand, bodies: list[Any], about: Any) -> Any:
    return stand.client.topics.publish_many(TOPIC, bodies, **about)


@contextmanager
def _subscriber(stand: Stand, file: Path, number: int) -> Iterator[None]:
    """One who listens, for as long as the block; then it is killed."""
    directory = stand.stack.directory
    child = Fork(
        [sys.executable, "-m", "tests.chaos.subscriber", stand.stack.redis_url, str(file)],
        pid_file=directory / f"subscriber-{number}.pid",
        output=directory / f"subscriber-{number}.log",
        env=CHECKOUT.environment(stand.stack.env),
        cwd=ROOT,
    )
    try:
        yield
    finally:
        child.kill()


def _bodies(file: Path) -> list[int]:
    """The whole lines of those who listened."""
    if not file.exists():
        return []
    told, _, _ = file.read_text("utf-8").rpartition("\n")
    return [int(line) for line in told.splitlines()]


def _rises(places: Iterable[int]) -> bool:
    found = [*places]
    return found == sorted(set(found))
