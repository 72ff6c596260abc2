from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from celery_agents.errors import ConfigurationError
from deploy.local import locks
from tests.support.sleepers import sleeper


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker.pid"


def test_only_one_can_take_it(path: Path) -> None:
    descriptor = locks.take(path)
    assert descriptor is not None
    locks.record(descriptor, 4711)
    assert locks.take(path) is None
    assert locks.holder(path) == 4711
    os.close(descriptor)
    assert locks.holder(path) is None
    again = locks.take(path)
    assert again is not None
    os.close(again)


def test_pid_of_a_dead_process_names_nobody(path: Path) -> None:
    path.write_text("1\n")  # alive, and not ours
    assert locks.holder(path) is None
    assert locks.end_leftover(path) is None


def test_missing_file_is_held_by_nobody(path: Path) -> None:
    assert locks.holder(path) is None
    assert not path.exists()


def test_file_is_held_until_the_process_ends(path: Path) -> None:
    child = sleeper(path)
    assert locks.holder(path) == child.pid
    child.kill()
    assert locks.holder(path) is None


def test_leftover_is_ended(path: Path) -> None:
    child = sleeper(path)
    assert locks.end_leftover(path) == child.pid
    assert child.wait(5) == -signal.SIGTERM


def test_stubborn_leftover_is_ended_by_force_with_its_children(path: Path) -> None:
    child = sleeper(path, 'trap "" TERM; sleep 60; sleep 60')
    assert locks.end_leftover(path, grace_s=0.2) == child.pid
    assert child.wait(5) == -signal.SIGKILL


def test_unknown_holder_is_not_guessed(path: Path) -> None:
    descriptor = locks.take(path)
    assert descriptor is not None
    with pytest.raises(ConfigurationError, match="unknown process"):
        locks.end_leftover(path)
    os.close(descriptor)


def test_programs_that_are_run_besides_do_not_inherit_it(path: Path) -> None:
    descriptor = locks.take(path)
    assert descriptor is not None
    with subprocess.Popen(["sleep", "60"]) as other:
        os.close(descriptor)
        assert locks.holder(path) is None
        other.kill()
