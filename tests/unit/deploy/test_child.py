from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from celery_agents.errors import ConfigurationError
from deploy.local.child import Child


def shell(tmp_path: Path, script: str, lines: list[str] | None = None) -> Child:
    output = tmp_path / "out" if lines is None else lines.append
    return Child(["/bin/sh", "-c", script], pid_file=tmp_path / "pid", output=output)


def await_lines(lines: list[str], number: int) -> None:
    until = time.monotonic() + 10
    while len(lines) < number:
        assert time.monotonic() < until, lines
        time.sleep(0.01)


def test_lines_of_both_streams_are_heard(tmp_path: Path) -> None:
    lines: list[str] = []
    child = shell(tmp_path, "echo one; echo two >&2; printf 'no end'; exit 3", lines)
    assert child.wait(10) == 3
    await_lines(lines, 3)
    assert lines == ["one", "two", "no end"]


def test_output_is_appended_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("before\n")
    assert shell(tmp_path, "echo after").wait(10) == 0
    assert (tmp_path / "out").read_text() == "before\nafter\n"


def test_has_a_session_of_its_own(tmp_path: Path) -> None:
    child = shell(tmp_path, "exec sleep 60")
    assert os.getsid(child.pid) == child.pid
    child.kill()
    assert child.returncode == -signal.SIGKILL


def test_wait_gives_up(tmp_path: Path) -> None:
    child = shell(tmp_path, "exec sleep 60")
    assert child.wait(0.05) is None
    assert child.returncode is None
    child.kill()


def test_stop_lets_it_finish(tmp_path: Path) -> None:
    lines: list[str] = []
    child = shell(
        tmp_path, "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done", lines
    )
    await_lines(lines, 1)
    assert child.stop(10) == 0
    await_lines(lines, 2)
    assert lines == ["up", "bye"]


def test_stop_becomes_force_after_the_grace(tmp_path: Path) -> None:
    lines: list[str] = []
    child = shell(tmp_path, "trap '' TERM; echo up; while :; do sleep 0.05; done", lines)
    await_lines(lines, 1)
    assert child.stop(0.2) == -signal.SIGKILL


def test_stopping_twice_is_harmless(tmp_path: Path) -> None:
    child = shell(tmp_path, "exit 0")
    child.wait(10)
    assert child.stop(1) == 0
    child.kill()
    child.send(signal.SIGTERM)


def test_second_one_on_the_same_pid_file_is_refused(tmp_path: Path) -> None:
    child = shell(tmp_path, "exec sleep 60")
    with pytest.raises(ConfigurationError, match=f"Process {child.pid} runs already"):
        shell(tmp_path, "exit 0")
    child.kill()
    assert shell(tmp_path, "exit 0").wait(10) == 0


def test_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no-such-program"):
        Child(["no-such-program"], pid_file=tmp_path / "pid", output=tmp_path / "out")
