from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from deploy.local.output import into, say


def test_closed_terminal_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    say("seen")
    assert stream.getvalue() == "seen\n"
    stream.close()
    say("lost")


def test_log_file_is_appended_to(tmp_path: Path) -> None:
    write = into(tmp_path / "log")
    write("one")
    write("zwei ä")
    assert (tmp_path / "log").read_text(encoding="utf-8") == "one\nzwei ä\n"


def test_a_log_file_grows_no_further_than_it_may(tmp_path: Path) -> None:
    write = into(tmp_path / "worker.log", most_bytes=100)
    for number in range(60):
        write(f"line {number}")
    now, before = (tmp_path / "worker.log", tmp_path / "worker.log.1")
    assert {path.name for path in tmp_path.iterdir()} == {now.name, before.name}
    assert max(path.stat().st_size for path in (now, before)) <= 100 + len("line 59\n")
    kept = [*before.read_text().splitlines(), *now.read_text().splitlines()]
    assert kept == [f"line {number}" for number in range(60 - len(kept), 60)]
