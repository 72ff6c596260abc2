"""A fork of a flow: it takes over what another run was told up to a command, and goes on.

What was asked before that point is not asked again: its answer is told, also where it came later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from agents.flows.history import FlowCommand, Line
from agents.flows.instance import Instance
from agents.flows.pattern import Advanced, advance, begun
from agents.plan import Member
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import InvalidPayloadError

Code = Callable[[Any, Any], Any]
#: Before all timers: answers that are known are told before any of them rings.
_EARLY = 0.0


class Origin(NamedTuple):
    """The part that a fork takes over: lines that are replayed, and the one that is told anew."""

    before: list[Line]
    told: list[Line]
    #: Commands whose answers are taken over, by their keys.
    commands: dict[str, FlowCommand]


def taken_over(of: str, told: JsonValue, history: Sequence[Line], after: str | None) -> Origin:
    """Return what a fork takes over of the history of a run that was told this.

    ``after`` a command: all up to its end, or to where it was given if it has none. None: all up to
    the first failure, with every answer that came later to the same command.

    Raises:
        InvalidPayloadError: there is no such command in the history.
    """
    if not history:
        raise InvalidPayloadError("The run has no history yet: nothing of it can be forked.")
    started = {"input": told, "of": of, **(history[0].value or {})}
    lines = [line._replace(place=None) for line in history]
    lines[0] = lines[0]._replace(value=started)
    if after is None:
        place = next((n for n, line in enumerate(lines) if line.kind in _ENDING), len(lines))
        return Origin(lines[:place], [], _commands(lines))
    generation = started.get("generation", 0)
    place = _place(lines, {after, f"{after}@{generation}"})
    before = lines[:place]
    return Origin(before, [lines[place]._replace(commands=())], _commands(before))


_ENDING = ("failed", "cancel")


def _place(lines: Sequence[Line], keys: set[str]) -> int:
    """The place of the line in which a command ended, or was given."""
    for ended in (True, False):
        for place, line in enumerate(lines):
            mine = line.kind in _OF_COMMANDS and line.key in keys
            if mine if ended else any(c.key in keys for c in line.commands):
                return place
    raise InvalidPayloadError("after: there is no command of that key in the run's history.")


_OF_COMMANDS = ("done", "failed", "timer")


def _commands(lines: Iterable[Line]) -> dict[str, FlowCommand]:
    return {command.key: command for line in lines for command in line.commands}


class Fork:
    """A fork that begins.

    Args:
        ends: answers of the origin's members, which succeeded, by their keys: when, and what.
    """

    def __init__(
        self, origin: Origin, code: Code, told: JsonValue, ends: Mapping[str, tuple[float, Any]]
    ) -> None:
        self._origin = origin
        self._code = code
        self._told = told
        self._ends = ends
        self._given = _commands(origin.before)
        self.found = Advanced()
        if origin.before:
            self.instance = begun(code, "", told, origin.before, remembers=True)
        else:
            value = origin.told[0].value
            self.instance = Instance(value["of"], value.get("generation", 0), forked=True)

    def advance(self, news: Iterable[Line], at: float) -> Advanced:
        """Tell it the answers that are known, then what is new; all that is to be written."""
        self.found.lines += self._origin.before
        self.found.wanted |= self._asked_again()
        lines = list(self._origin.told)
        while not self._over and (lines or (lines := self._known())):
            self._add(advance(self.instance, self._code, self._told, lines, _EARLY))
            lines = []
        if not self._over:
            self._add(advance(self.instance, self._code, self._told, news, at))
        return self.found

    @property
    def _over(self) -> bool:
        return self.found.outcome is not None or self.found.state is not None

    def _asked_again(self) -> dict[str, Member]:
        """The questions that the origin waited for at that point."""
        open_ = self.instance.open
        made = {key: make(key) for key, make in self.instance.makes.items() if key in open_}
        self.instance.makes.clear()
        return {key: want for key, want in made.items() if isinstance(want, Member)}

    def _known(self) -> list[Line]:
        """The answers of the origin to what the fork waits for now."""
        commands = self._origin.commands
        keys = [
            key
            for key in self.instance.open
            if key in self._ends and commands.get(key) == self._given.get(key)
        ]
        keys.sort(key=lambda key: self._ends[key][0])
        return [Line("done", key, *self._ends[key]) for key in keys]

    def _add(self, more: Advanced) -> None:
        found = self.found
        found.lines += more.lines
        self._given |= _commands(more.lines)
        for line in more.lines:
            found.wanted.pop(line.key, None)
        for key in more.cancels:
            if found.wanted.pop(key, None) is None:
                found.cancels.append(key)
        found.wanted |= more.wanted
        found.emits += more.emits
        found.outcome, found.state = more.outcome, more.state
