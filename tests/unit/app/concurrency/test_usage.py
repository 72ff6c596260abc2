"""The use of a process, by clocks of the test and by the machine's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.concurrency.usage import Consumption, ProcessUsage, memory_bytes


def test_processors_are_the_mean_since_the_look_before() -> None:
    at, used = [10.0], [1.0]
    looks = ProcessUsage(lambda: at[0], lambda: used[0], lambda: 7)
    assert looks.take() == Consumption(7, 0.0)
    at[0], used[0] = 20.0, 16.0
    assert looks.take() == Consumption(7, 1.5)
    at[0], used[0] = 20.1, 16.1  # too soon: a retried heartbeat says the same
    assert looks.take() == Consumption(7, 1.5)
    at[0], used[0] = 30.0, 16.0
    assert looks.take() == Consumption(7, 0.0)


def test_memory_grows_with_what_is_held() -> None:
    before = memory_bytes()
    held = bytearray(b"x") * (64 * 2**20)
    assert memory_bytes() - before > 48 * 2**20
    assert len(held)


def test_a_system_that_does_not_say_it_tells_the_most(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now = memory_bytes()
    monkeypatch.setattr("app.concurrency.usage._STATM", tmp_path / "none")
    assert memory_bytes() >= now // 2
