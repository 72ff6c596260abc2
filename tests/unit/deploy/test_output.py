from __future__ import annotations

import io
from pathlib import Path

from deploy.local.output import into, prefixed


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_carry_their_name() -> None:
    stream = io.StringIO()
    prefixed("beat", 1, width=6, stream=stream)("tick")
    assert stream.getvalue() == "beat   | tick\n"


def test_terminal_gets_a_colour_per_process() -> None:
    stream = Terminal()
    for index in (0, 1):
        prefixed("x", index, width=1, stream=stream)("line")
    first, second = stream.getvalue().splitlines()
    assert first.endswith("\033[0m line")
    assert first != second


def test_closed_terminal_is_no_error() -> None:
    stream = io.StringIO()
    show = prefixed("x", 0, width=1, stream=stream)
    stream.close()
    show("lost")


def test_log_file_is_appended_to(tmp_path: Path) -> None:
    write = into(tmp_path / "log")
    write("one")
    write("zwei ä")
    assert (tmp_path / "log").read_text(encoding="utf-8") == "one\nzwei ä\n"
