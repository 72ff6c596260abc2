from __future__ import annotations

import builtins
import threading
from typing import Any

import pytest

from celery_agents.client.overview.bar import bar
from celery_agents.contracts.outcome import State
from celery_agents.contracts.watching import MemberProgress
from celery_agents.errors import ResultTimeoutError


class Looked:
    """Answers that are given one after the other; the last one again and again."""

    def __init__(self, *answers: Any) -> None:
        self._answers = [*answers]
        self.looks = threading.Semaphore(0)

    def __call__(self) -> MemberProgress | None:
        found = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        self.looks.release()
        if isinstance(found, Exception):
            raise found
        return None if found is None else told(found)


def told(done: int) -> MemberProgress:
    return MemberProgress(
        step_id="r", state=State.WAITING, total=20_000, succeeded=done, failed=1, elapsed_s=1.0
    )


def watch(look: Looked, looks: int) -> None:
    with bar(look, every_s=0.001):
        for _ in range(looks):
            assert look.looks.acquire(timeout=20)


@pytest.fixture
def _without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def importing(name: str, *args: Any) -> Any:
        if name.startswith("rich"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", importing)


@pytest.mark.usefixtures("_without_rich")
def test_lines_where_it_moved(capsys: pytest.CaptureFixture[str]) -> None:
    watch(Looked(None, 10, 10, ResultTimeoutError("late"), 30), 6)
    out, lines = capsys.readouterr()
    assert out == ""
    assert [line.split(" of ")[0] for line in lines.splitlines()] == ["11", "31"]


def test_a_bar_by_rich(capsys: pytest.CaptureFixture[str]) -> None:
    watch(Looked(10, 19_999), 3)
    out, drawn = capsys.readouterr()
    assert out == ""
    assert "20000/20000" in drawn
    assert "1 failed" in drawn


def test_the_end_is_seen_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with bar(Looked(5), every_s=3600):
        pass
    assert "6/20000" in capsys.readouterr().err
