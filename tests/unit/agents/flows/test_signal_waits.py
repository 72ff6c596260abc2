"""The signals that a history leaves waiting, by the waits that are open."""

from __future__ import annotations

from typing import Any

import pytest

from agents.flows.history import FlowCommand, Line, SignalWaits


def line(kind: Any, key: str = "", *waits: tuple[str, str], value: Any = None) -> Line:
    commands = tuple(FlowCommand(key, "signal", name, "") for key, name in waits)
    return Line(kind, key, 0.0, value, (FlowCommand("9", "timer", "", ""), *commands))


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], {}),
        ([line("started", "", ("1", "go"))], {"0/1": "go"}),
        ([line("started", "", ("1", "go")), line("signal", "go")], {}),
        ([line("started", "", ("1", "go")), line("signal", "stop")], {"0/1": "go"}),
        # One that came before anybody waited is taken; of two waits the first gets it.
        ([line("started"), line("signal", "go"), line("done", "x", ("3", "go"))], {}),
        (
            [line("started", "", ("1", "go"), ("2", "go"), ("3", "no")), line("signal", "go")],
            {"0/2": "go", "0/3": "no"},
        ),
        # Begun anew it has other keys, and the signals that nobody had taken.
        (
            [
                line("started", "", ("1", "go")),
                line("started", "", ("1", "go"), value={"generation": 4, "signals": []}),
            ],
            {"4/1": "go"},
        ),
        ([line("started", "", ("1", "go"), value={"signals": [["go", 1]]})], {}),
    ],
)
def test_the_waits_that_are_open(lines: list[Line], told: dict[str, str]) -> None:
    assert SignalWaits(lines).open() == told


def test_what_was_sent_and_not_told_so_far_is_waited_for_no_more() -> None:
    waits = SignalWaits([line("started", "", ("1", "go"), ("2", "go"))])
    assert waits.open(["go", "stop"]) == {"0/2": "go"}
    assert waits.open(["go"] * 3) == {}
    assert waits.open() == {"0/1": "go", "0/2": "go"}


def test_a_history_may_be_told_in_portions() -> None:
    waits = SignalWaits([line("started", "", ("1", "go"))])
    waits.add([line("signal", "go"), line("done", "x", ("2", "go"))])
    assert waits.open() == {"0/2": "go"}
    assert waits.size == 2
