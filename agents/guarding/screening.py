"""One turn of an agent as its guards see it: what goes in, what comes out, what is streamed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from agents.guarding.finding import Finder, Finding, apart, mapped, message_with, replaced
from agents.guarding.untrusted import as_data
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.guards import Action
from celery_agents.redaction.streamed import HELD

if TYPE_CHECKING:
    from agents.base import Turn

Side = Literal["input", "output"]
_MARK = re.compile(r"⟨[A-Z0-9_]{1,40}_\d+⟩")
_ODD = re.compile(r"[^A-Z0-9_]+")


@dataclass(frozen=True, slots=True)
class TextGuard:
    """A guard, ready to be used."""

    name: str
    input: Action = "off"
    output: Action = "off"
    find: Finder | None = None
    #: Whether somebody else's function finds: nobody knows how much of a text it has to see.
    foreign: bool = False
    judge: str | None = None
    untrusted: bool | tuple[str, ...] = False

    def on(self, side: Side) -> Action:
        """Tell what it does about a side."""
        return self.input if side == "input" else self.output


class Screen:
    """The guards of one turn, and what they have found; kept in memory for as long as the turn."""

    def __init__(self, rules: Sequence[TextGuard], turn: Turn) -> None:
        self._rules = rules
        self._turn = turn
        self._options = frozenset(turn.choices or ())
        self._marks: dict[tuple[str, str], str] = {}  # by kind and text
        self._taken: set[str] | None = None
        self._json = turn.answer_schema is not None or turn.choices is not None
        #: How often each guard found what, by (guard, side, kind, action).
        self.found: Counter[tuple[str, Side, str, Action]] = Counter()
        #: The guard that lets it not pass, once there is one.
        self.blocked: str | None = None
        self._stopped = False  # nothing more is streamed

    def asked(self) -> Turn:
        """Return the turn as the agent gets it."""
        turn, change = self._turn, self._changing("input")
        told: dict[str, Any] = {}
        if any(rule.find and rule.input != "off" for rule in self._rules):
            # In the order in which a conversation grows: marks at its begin stay what they are.
            if turn.instructions is not None:
                told["instructions"] = change(turn.instructions)
            told["messages"] = tuple(message_with(one, change) for one in turn.messages)
            told["input"] = mapped(turn.input, change)
        for rule in self._rules:
            if rule.untrusted:
                told["input"] = _marked(told.get("input", turn.input), rule.untrusted)
        return turn.model_copy(update=told) if told else turn

    def said(self, value: JsonValue) -> JsonValue:
        """Return an answer as whoever asked gets it, but for what was masked on the way in."""
        if not any(rule.find and rule.output != "off" for rule in self._rules):
            return value
        change = self._changing("output")
        return mapped(value, lambda text: text if text in self._options else change(text))

    def restored(self, value: JsonValue) -> JsonValue:
        """Put back what was masked on the way in."""
        return mapped(value, self._put_back) if self._marks else value

    def restored_turns(self, turns: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
        """Put it back in what an agent said on the way to its answer."""
        return tuple(message_with(one, self._put_back) for one in turns)

    def result(self, value: JsonValue) -> JsonValue:
        """Return a tool's result as the model may see it: where it is blocked, it is not told."""
        before, self.blocked = self.blocked, None
        told = mapped(value, self._changing("input"))
        guard, self.blocked = self.blocked, before
        return told if guard is None else f"The guard {guard} does not let this result pass."

    def judges(self, side: Side) -> list[tuple[str, str, Action]]:
        """Guard, agent and action of those that judge a side."""
        return [
            (rule.name, rule.judge, rule.on(side))
            for rule in self._rules
            if rule.judge is not None and rule.on(side) != "off"
        ]

    @property
    def foreign(self) -> bool:
        """True when somebody's function is asked, which may take its time."""
        return any(rule.foreign for rule in self._rules)

    @property
    def streams_changed(self) -> bool:
        """True when a streamed text is not told as it comes."""
        return bool(self._marks) or self.hides

    @property
    def hides(self) -> bool:
        """True when an answer's text may hold what must not be told."""
        return any(rule.output in {"mask", "block"} for rule in self._rules)

    @property
    def holds_all(self) -> bool:
        """True when an answer can only be looked at as a whole."""
        whole = (rule for rule in self._rules if rule.foreign or rule.judge is not None)
        return any(rule.output in {"mask", "block"} for rule in whole)

    def streamed(self, text: str) -> str:
        """Return a part of a text as watchers may see it: nothing from what is blocked on."""
        if self._stopped:
            return ""
        whole = text
        findings: list[Finding] = []
        for rule in self._rules:
            if rule.find is not None and rule.output in {"mask", "block"}:
                found = rule.find(text)
                findings += found
                if found and rule.output == "block":
                    text = text[: min(one.start for one in found)]
                    self._stopped = min(one.end for one in found) <= len(whole) - HELD
        masked = [one for one in apart(findings) if one.end <= len(text)]
        return self._put_back(replaced(text, masked, _hidden), quoted=self._json)

    def _changing(self, side: Side) -> Callable[[str], str]:
        by = self._mark if side == "input" else _hidden

        def change(text: str) -> str:
            return replaced(text, apart(self._masked(text, side)), by)

        return change

    def _masked(self, text: str, side: Side) -> Iterator[Finding]:
        for rule in self._rules:
            action = rule.on(side)
            if rule.find is None or action == "off":
                continue
            for one in rule.find(text):
                self.found[rule.name, side, one.kind, action] += 1
                if action == "block":
                    self.blocked = self.blocked or rule.name
                elif action == "mask":
                    yield one

    def _mark(self, kind: str, text: str) -> str:
        """Return the mark that stands for a text: the same one for the same text."""
        if (known := self._marks.get((kind, text))) is not None:
            return known
        if self._taken is None:  # by texts that look like marks
            self._taken = set(_MARK.findall(self._turn.model_dump_json()))
        number, name = 1, _named(kind)
        while (mark := f"⟨{name}_{number}⟩") in self._taken:
            number += 1
        self._taken.add(mark)
        self._marks[kind, text] = mark
        return mark

    def _put_back(self, text: str, *, quoted: bool = False) -> str:
        if "⟨" not in text:
            return text
        known = {mark: found for (_, found), mark in self._marks.items()}

        def found(match: re.Match[str]) -> str:
            told = known.get(match.group())
            if told is None:
                return match.group()
            return json.dumps(told, ensure_ascii=False)[1:-1] if quoted else told

        return _MARK.sub(found, text)


def _named(kind: str) -> str:
    return _ODD.sub("_", kind.upper())[:40] or "DATA"


def _hidden(kind: str, _: str) -> str:
    return f"⟨{_named(kind)}⟩"


def _marked(value: JsonValue, which: bool | tuple[str, ...]) -> JsonValue:
    if which is True:
        return as_data("of the request", value)
    if not isinstance(value, dict) or which is False:
        return value
    return {k: as_data(f"in {k}", v) if k in which else v for k, v in value.items()}
