from __future__ import annotations

import os
import re
from typing import Any

import pytest

from agents.flows.fork import Fork, taken_over
from agents.flows.history import Line
from agents.flows.pattern import Advanced, dropped
from celery_agents.errors import InvalidPayloadError
from tests.support import flows
from tests.unit.agents.flows.test_instance import Code, Played

#: Flows that are made up, and the commands of each: ``FORKS=20x50``.
FLOWS, COMMANDS = map(int, os.environ.get("FORKS", "2x20").split("x"))


class Forked(Played):
    """A fork of a run that has ended, played to its own end."""

    def __init__(self, of: Played, after: str | None, answers: dict[str, Any]) -> None:
        super().__init__(of.code, of.told)
        self.asked: list[str] = []
        origin = taken_over("run-1", of.told, of.history, after)
        heard = sum(line.kind == "signal" for line in [*origin.before, *origin.told])
        self.signals, self.at = self.signals[heard:], of.at
        self.fork = Fork(origin, of.code, of.told, answers)
        self.first: Advanced | None = None

    def wake(self, news: list[Line]) -> Advanced:
        if self.first is not None:
            found = super().wake(news)
        else:
            assert self.fork.instance.difference is None
            found = self.first = self.fork.advance([], self.at)
            dropped(self.fork.instance)
            self.history = [Line.of(line.kind, line.data) for line in found.lines]
            self.open, self.outcome = {m.key: m for m in found.members}, found.outcome
        self.asked += [member.key for member in found.members]
        return found


def played(code: Code, seed: int) -> tuple[Played, dict[str, tuple[float, Any]]]:
    one = Played(code, 6, seed)
    one.history = []
    one.play()
    return one, {ln.key: (ln.at, ln.value) for ln in one.history if ln.kind == "done"}


@pytest.mark.parametrize("code", flows.EACH, ids=lambda code: code.__name__)
def test_after_each_command_it_goes_on_without_what_came_before(code: Code) -> None:
    for seed in range(2):
        of, answers = played(code, seed)
        ended = [ln.key for ln in of.history if ln.kind in ("done", "failed", "timer")]
        for place, after in enumerate(ended):
            fork = Forked(of, after, answers)
            outcome = fork.play()
            assert outcome.ok, outcome.error
            told = [ln for ln in of.history if ln.kind in ("done", "failed", "timer")]
            before = {ln.key for ln in told[: place + 1] if ln.kind != "timer"}
            assert not before & {*fork.asked}
            assert fork.history[0].value["of"] == "run-1"
            if code in SAME:
                assert outcome.value == of.outcome.value


@pytest.mark.parametrize("seed", range(FLOWS))
def test_made_up_flows_after_each_of_their_commands(seed: int) -> None:
    """The same result, and nothing that was answered before the point is asked again."""
    code = flows.made_up(seed, COMMANDS)
    of, answers = played(code, seed)
    assert len({command.key for line in of.history for command in line.commands}) == COMMANDS
    ended = [line for line in of.history if line.kind in ("done", "failed", "timer")]
    for place, line in enumerate(ended):
        fork = Forked(of, line.key, answers)
        assert fork.play().value == of.outcome.value, line
        before = {one.key for one in ended[: place + 1] if one.kind != "timer"}
        assert not before & {*fork.asked}, line
        later = {one.key for one in ended[place + 1 :]}
        assert {*fork.asked} <= later, line


#: Those whose result does not come of what is first.
SAME = (flows.in_a_row, flows.branches, flows.grouped, flows.producer, flows.drawing)


def test_without_a_command_all_that_succeeded_is_taken_over() -> None:
    of, answers = played(flows.stubborn, 0)
    fork = Forked(of, None, answers)
    assert fork.play().ok
    assert fork.first is not None
    assert [member.key for member in fork.first.members] == ["1"]  # that failed


def test_what_nobody_asked_for_is_no_point() -> None:
    of, _ = played(flows.one, 0)
    with pytest.raises(InvalidPayloadError, match=re.escape("no command of that key")):
        taken_over("run-1", 6, of.history, "nobody")
    with pytest.raises(InvalidPayloadError, match="no history"):
        taken_over("run-1", 6, [], None)
