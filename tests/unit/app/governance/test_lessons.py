"""Lessons that workers share: none is lost between two of them, nor while the journal is away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from agents.governance.sizes import Observed, Sizes
from app.concurrency.loop import process_loop
from app.governance.lessons import SharedLessons
from celery_agents.errors import JournalUnavailableError
from tests.integration.harness import eventually

SEEN = Observed({"word": 1_000}, 1_300, 40)


class Memos:
    """The memos of a journal, which may be away, or wait for a sign before it writes."""

    def __init__(self) -> None:
        self.data: dict[str, dict[str, Any]] = {}
        self.away = False
        self.written = self.reads = 0
        self.may_write = threading.Event()
        self.may_write.set()
        self.memos = self

    def read(self, key: str) -> dict[str, Any]:
        self.reads += 1
        return self.data.get(key, {})

    def change(
        self, key: str, revise: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        if self.away:
            raise JournalUnavailableError
        assert self.may_write.wait(30)
        self.written += 1
        self.data[key] = revise(self.data.get(key, {}))
        return self.data[key]

    @property
    def calls(self) -> int:
        return int(self.data.get("sizes:gpt", {}).get("calls", 0))


@pytest.fixture
def memos() -> Memos:
    return Memos()


def worker(memos: Any) -> SharedLessons:
    return SharedLessons("gpt", lambda: memos)


def add(lessons: SharedLessons, times: int) -> None:
    """On the loop, as models do."""

    async def learn() -> None:
        for _ in range(times):
            lessons.add(SEEN)
            await asyncio.sleep(0.01)

    process_loop().submit(learn()).result(timeout=30)


def known(lessons: SharedLessons, *, newest: bool = False) -> Sizes:
    return process_loop().submit(lessons.known(newest=newest)).result(timeout=30)


def test_workers_learn_from_each_other(memos: Memos) -> None:
    one, other = worker(memos), worker(memos)
    for lessons in (one, other, one, other):
        add(lessons, 10)
    assert known(one, newest=True).calls >= 30
    eventually(lambda: memos.calls >= 32)
    assert known(worker(memos)).likely(SEEN.pieces) == pytest.approx(1_300, rel=0.02)
    assert 8 <= memos.written <= 25


def test_it_is_read_once_and_written_seldom(memos: Memos) -> None:
    lessons = worker(memos)
    add(lessons, 64)
    before = memos.written
    for _ in range(3):
        known(lessons)
    assert memos.reads <= 1
    add(lessons, 64)
    assert memos.written - before <= 9  # an eighth is new


def test_a_journal_that_is_away_loses_nothing(memos: Memos) -> None:
    lessons = worker(memos)
    memos.away = True
    add(lessons, 20)
    assert known(lessons).calls == 20
    assert memos.calls == 0
    memos.away = False
    add(lessons, 5)
    eventually(lambda: memos.calls >= 20)
    assert known(lessons, newest=True).calls == 25


def test_what_is_new_since_a_write_began_is_written_behind_it(memos: Memos) -> None:
    lessons = worker(memos)
    memos.may_write.clear()
    add(lessons, 20)
    memos.may_write.set()
    eventually(lambda: memos.calls >= 19)


def test_while_it_is_away_for_long_no_more_than_some_is_kept(memos: Memos) -> None:
    lessons = worker(memos)
    memos.away = True
    for _ in range(300):
        process_loop().submit(_add(lessons)).result(timeout=30)
    memos.away = False
    add(lessons, 1)
    eventually(lambda: memos.calls == 256)


async def _add(lessons: SharedLessons) -> None:
    lessons.add(SEEN)
