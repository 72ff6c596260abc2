"""Reads that come while another one runs are made together."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine

from app.concurrency.fibers import Fiber, wait
from app.concurrency.future import Future
from app.concurrency.loop import process_loop
from app.journal.queries.together import TOGETHER_MAX, Together
from app.journal.schema.engine import connect
from celery_agents.errors import JournalUnavailableError
from tests.support.fibers import SOON_S, in_a_fiber


@pytest.fixture
def engine(tmp_path: Any) -> Engine:
    return connect(f"sqlite:///{tmp_path}/journal.db")


class Reading:
    """A read of which the first waits until the others have asked."""

    def __init__(self, *, bad: str = "", away: bool = False) -> None:
        self.batches: list[list[str]] = []
        self.begun, self.go_on = threading.Event(), threading.Event()
        self._bad, self._away = bad, away

    def __call__(self, _: Any, keys: Sequence[str]) -> dict[str, str]:
        self.batches.append(list(keys))
        self.begun.set()
        assert self.go_on.wait(10)
        if self._away and len(self.batches) > 1:
            raise JournalUnavailableError("away")
        if self._bad in keys:
            raise ValueError(f"no {self._bad}")
        return {key: key.upper() for key in keys}


def ask(engine: Engine, read: Reading, keys: Sequence[str]) -> dict[int, Any]:
    """Ask for the first key and, while that is read, for the others; answers by place."""
    together = Together(engine, read)
    told: dict[int, Any] = {}

    def one(place: int, key: str) -> None:
        try:
            told[place] = together(key)
        except Exception as error:  # noqa: BLE001 - it is compared
            told[place] = error

    threads = [threading.Thread(target=one, args=place) for place in enumerate(keys)]
    threads[0].start()
    assert read.begun.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(together._asked) < len(keys) - 1:
        threading.Event().wait(0.01)
    read.go_on.set()
    for thread in threads:
        thread.join(10)
    together.close()
    return told


def test_what_gathers_meanwhile_is_read_at_once(engine: Engine) -> None:
    read = Reading()
    told = ask(engine, read, ["a", "b", "c", "b"])
    assert told == {0: "A", 1: "B", 2: "C", 3: "B"}
    assert read.batches == [["a"], ["b", "c"]]


def test_a_batch_is_bounded(engine: Engine) -> None:
    read = Reading()
    keys = [f"{n:04}" for n in range(2 * TOGETHER_MAX)]
    assert len(ask(engine, read, keys)) == len(keys)
    assert max(map(len, read.batches)) <= TOGETHER_MAX
    assert len(read.batches) <= 4


def test_a_row_that_cannot_be_read_takes_no_other_with_it(engine: Engine) -> None:
    told = ask(engine, Reading(bad="b"), ["a", "b", "c"])
    assert (told[0], told[2]) == ("A", "C")
    assert isinstance(told[1], ValueError)


def test_a_journal_that_is_away_is_told_to_all_who_asked(engine: Engine) -> None:
    read = Reading(away=True)
    told = ask(engine, read, ["a", "b", "c"])
    assert told[0] == "A"
    assert all(isinstance(told[place], JournalUnavailableError) for place in (1, 2))
    assert len(read.batches) == 2


def test_steps_that_ask_in_one_turn_of_the_loop_are_read_for_at_once(engine: Engine) -> None:
    read = Reading()
    read.go_on.set()
    together, thread, gate = Together(engine, read), process_loop(), Future[None]()
    replies: dict[str, Future[str]] = {key: Future() for key in "abc"}

    def ask_for(key: str) -> None:
        wait(gate)
        replies[key].set_result(together(key))

    def begin() -> None:
        for key in replies:
            Fiber(thread, partial(ask_for, key)).begin()
        gate.set_result(None)  # all of them go on in one turn

    thread.post(begin)
    assert [reply.result(SOON_S) for reply in replies.values()] == ["A", "B", "C"]
    assert read.batches == [["a", "b", "c"]]
    together.close()


def test_a_step_that_is_alone_reads_by_itself(engine: Engine) -> None:
    threads: list[int] = []

    def read(_: Any, keys: Sequence[str]) -> dict[str, str]:
        threads.append(threading.get_ident())
        return dict.fromkeys(keys, "read")

    together = Together(engine, read)
    assert in_a_fiber(lambda: together("a")) == "read"
    assert threads == [process_loop().thread_id]
    together.close()
