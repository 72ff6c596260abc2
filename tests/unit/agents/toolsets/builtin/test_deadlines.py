"""What bounds the time of tools is what they compute, whatever else the machine does."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from agents.toolsets.builtin import deadlines
from tests.unit.agents.toolsets.builtin.support import called, example

#: Calls in which the clock is looked at; of others their examples.
LOOKING: dict[str, dict[str, Any]] = {
    "data.query_table": {"tables": {"t": "a\nb\n"}, "sql": "SELECT instr(a, 'b') FROM t"},
}


def test_only_what_a_thread_computes_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, own = [0.0], [0.0]
    clocks = SimpleNamespace(monotonic=lambda: wall[0], thread_time=lambda: own[0])
    monkeypatch.setattr(deadlines, "time", clocks)
    is_over = deadlines.time_limit(1.0)
    assert not is_over()
    wall[0] = 100.0
    assert not is_over()
    own[0] = 1.1
    assert is_over()


@pytest.mark.parametrize(
    "name",
    ["data.inspect_sql", "data.query_table", "files.read_document", "text.html_to_markdown"],
)
def test_others_that_have_the_processor_end_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten seconds pass between each two looks at the clock, in which this thread does nothing."""
    given = LOOKING.get(name, {})
    wanted = called(name, **given) if given else example(name)
    monkeypatch.setattr(
        deadlines,
        "time",
        SimpleNamespace(monotonic=count(0.0, 10.0).__next__, thread_time=lambda: 0.0),
    )
    assert (called(name, **given) if given else example(name)) == wanted
