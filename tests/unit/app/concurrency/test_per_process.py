from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

from app.concurrency.per_process import PerProcess


def test_one_is_made_however_many_ask() -> None:
    held: PerProcess[object] = PerProcess()
    made: list[object] = []
    together = threading.Barrier(8)

    def make() -> object:
        made.append(object())
        return made[-1]

    def ask(_: int) -> object:
        together.wait()
        return held.get(make)

    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(ask, range(8)))
    assert got == made * 8


def test_what_is_dropped_is_made_anew() -> None:
    held: PerProcess[list[int]] = PerProcess()
    assert held.drop() is None
    first = held.get(lambda: [1])
    assert held.drop() is first
    assert held.value is None
    assert held.get(lambda: [2]) == [2]


def in_a_child(held: PerProcess[int]) -> bytes:
    """What a forked child sees: its value, before and after it made one."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        before = held.value
        os.write(write, f"{before} {held.get(os.getpid) == os.getpid()}".encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read, "rb") as end:
        return end.read()


def test_a_forked_child_makes_its_own() -> None:
    held: PerProcess[int] = PerProcess()
    mine = held.get(os.getpid)
    with held._lock:  # a fork in the middle of another thread's making
        assert in_a_child(held) == b"None True"
    assert held.value == mine == os.getpid()
