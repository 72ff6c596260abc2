from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_agents.errors import ConfigurationError
from deploy.local.supervisor import Service, restart_delay_s

READY = "echo 'node ready.'; exec sleep 60"
Make = Callable[[str], Service]


@pytest.fixture
def reports() -> list[str]:
    return []


@pytest.fixture
def make(tmp_path: Path, reports: list[str]) -> Iterator[Make]:
    made: list[Service] = []

    def start(script: str) -> Service:
        service = Service(
            "worker",
            ["/bin/sh", "-c", script],
            env=dict(os.environ),
            pid_file=tmp_path / "worker.pid",
            output=lambda _: None,
            report=reports.append,
            ready_text=" ready.",
        )
        made.append(service)
        service.start()
        return service

    yield start
    for service in made:
        service.kill()


def await_true(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("deaths", "seconds"), [(0, 0.1), (1, 0.2), (2, 0.4), (6, 6.4), (7, 10.0), (10_000, 10.0)]
)
def test_delays(deaths: int, seconds: float) -> None:
    assert restart_delay_s(deaths) == pytest.approx(seconds)


@given(st.integers(0, 10_000))
def test_delays_grow_to_a_bound(deaths: int) -> None:
    assert 0 < restart_delay_s(deaths) <= restart_delay_s(deaths + 1) <= 10


def test_killed_one_comes_back(make: Make, reports: list[str]) -> None:
    service = make(READY)
    service.wait_ready(10)
    before = service.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    await_true(lambda: service.pid not in {None, before})
    service.wait_ready(10)
    assert reports == ["worker was ended by SIGKILL; starting it again"]


def test_restart_is_graceful_and_not_reported(make: Make, reports: list[str]) -> None:
    service = make(f"trap 'exit 0' TERM; {READY.removesuffix('exec sleep 60')} sleep 60 & wait")
    service.wait_ready(10)
    before = service.pid
    service.restart()
    assert service.pid not in {None, before}
    service.wait_ready(10)
    assert reports == []


def test_stopped_one_stays_away(make: Make, reports: list[str]) -> None:
    service = make(READY)
    service.wait_ready(10)
    service.stop(grace_s=5)
    assert service.pid is None
    time.sleep(0.3)
    assert service.pid is None
    assert reports == []


def test_one_that_keeps_ending_is_given_up_with_its_last_lines(make: Make) -> None:
    service = make("echo 'no module named app'; exit 2")
    with pytest.raises(ConfigurationError, match=r"(?s)keeps ending.*no module named app"):
        service.wait_ready(10)


def test_one_that_says_nothing_is_given_up(make: Make) -> None:
    with pytest.raises(ConfigurationError, match="not ready after"):
        make("exec sleep 60").wait_ready(0.1)


def test_leftover_of_a_crashed_launcher_is_ended_first(make: Make) -> None:
    first = make(READY)
    first.wait_ready(10)
    left = first.pid
    first._stopping = True  # its launcher is no more
    second = make(READY)
    second.wait_ready(10)
    until = time.monotonic() + 10
    while first.pid is not None and time.monotonic() < until:  # its thread hears of the end
        time.sleep(0.01)
    assert first.pid is None
    assert second.pid not in {None, left}
