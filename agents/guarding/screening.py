"""One turn of an agent as its guards see it: what goes in, what comes out, what is streamed."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from agents.guarding.finding import (
    Finder,
    Finding,
    Local,
    mapped,
    merged,
    message_with,
    replaced,
)
from agents.guarding.held import STOP, HeldText
from agents.guarding.marks import KNOWN, WITHHELD, Marks, hidden
from agents.guarding.plain import unquoted
from agents.guarding.untrusted import as_data
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.guards import Action

if TYPE_CHECKING:
    from agents.base import Turn

Side = Literal["input", "output"]


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


class ScreenRules:
    """The guards of one turn, and what they have to see."""

    def __init__(self, rules: Sequence[TextGuard], turn: Turn) -> None:
        self._rules = rules
        self._marks = Marks(turn.model_dump_json)

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
    def looks(self) -> bool:
        """True when a guard looks for something in what comes out."""
        return any(rule.find and rule.output != "off" for rule in self._rules)

    @property
    def judged(self) -> bool:
        """True when what comes out may be told once an agent has said so."""
        return any(rule.judge is not None and rule.output == "block" for rule in self._rules)

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
        return self.judged or any(
            rule.find is not None
            and rule.output in {"mask", "block"}
            and (rule.foreign or not isinstance(rule.find, Local))
            for rule in self._rules
        )

    @property
    def keeps_changed(self) -> bool:
        """True when a text is not remembered as it stands."""
        return self.looks or any(rule.find and rule.input == "mask" for rule in self._rules)


class Screen(ScreenRules):
    """The guards of one turn, and what they have found; kept in memory for as long as the turn."""

    def __init__(self, rules: Sequence[TextGuard], turn: Turn) -> None:
        super().__init__(rules, turn)
        self._turn = turn
        self._options = frozenset(turn.choices or ())
        #: Whether the answer's text is one of JSON.
        self._quoted = turn.answer_schema is not None or turn.choices is not None
        #: How often each guard found what, by (guard, side, kind, action).
        self.found: Counter[tuple[str, Side, str, Action]] = Counter()
        #: The guard that lets it not pass, once there is one.
        self.blocked: str | None = None

    def asked(self) -> Turn:
        """Return the turn as the agent gets it."""
        turn, look = self._turn, self._looking("input")
        change = look.change
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
        self.blocked = self.blocked or look.blocked
        return turn.model_copy(update=told) if told else turn

    def said(self, value: JsonValue) -> JsonValue:
        """Return an answer as whoever asked gets it, but for what was masked on the way in."""
        if not self.looks:
            return value
        look = self._looking("output")
        told = mapped(value, lambda text: text if text in self._options else look.change(text))
        self.blocked = self.blocked or look.blocked
        return told

    def heard(self, turns: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
        """Return what an agent said on the way to its answer as whoever asked may read it.

        Its words are looked at as its answer is. What its tools were called with, and what they
        gave, was done and not said: what a guard would block there is left out.
        """
        look = self._looking("output")
        change, acts = self._back(look.change), self._back(self._without)
        told = tuple(
            message_with(one, acts if one.role == "tool" else change, acts) for one in turns
        )
        self.blocked = self.blocked or look.blocked
        return told

    def restored(self, value: JsonValue) -> JsonValue:
        """Put back what was masked on the way in."""
        return mapped(value, self._marks.put_back) if self._marks else value

    def result(self, value: JsonValue, *, but_own: bool = False) -> JsonValue:
        """Return a tool's result as the model may see it: where it is blocked, it is not told.

        ``but_own``: of one that has been told marks of this turn.
        """
        look = self._looking("input")
        told = mapped(value, lambda text: look.change(self._marks.foreign(text, but_own=but_own)))
        if look.blocked is None:
            return told
        return f"The guard {look.blocked} does not let this result pass."

    def shown(self, value: JsonValue) -> tuple[JsonValue, str | None]:
        """Return what is let out beside an answer, with marks, and the guard that blocks it."""
        if not self.looks:
            return value, None
        look = self._looking("output")
        told = mapped(value, look.change)
        return told, look.blocked

    def kept(self, text: str) -> tuple[str, str | None]:
        """Return a text as it is remembered for other runs, and the guard that blocks it.

        Nothing is put back there, and no mark has a number: in another run that is somebody else's.
        """
        finders = [r.find for r in self._rules if r.find and r.input == "mask"]
        found = merged([one for find in finders for one in find(text)])
        look = _Look(self._masked, "output", hidden)
        told = look.change(self._marks.foreign(replaced(text, found, hidden)))
        return told, look.blocked

    def others(self, value: JsonValue, *, but_own: bool = False) -> JsonValue:
        """Return what others say without the numbers of their marks; see :meth:`Marks.foreign`."""
        return mapped(value, lambda text: self._marks.foreign(text, but_own=but_own))

    def event(self, value: JsonValue) -> JsonValue:
        """Return what watchers are told of an act: without what is blocked or nobody has judged."""
        if self.judged:
            return mapped(value, lambda _: WITHHELD)
        return mapped(value, self._back(self._acted)) if self.streams_changed else value

    def held(self) -> HeldText:
        """Return a text to be streamed, of which watchers get what comes of it whole."""
        opened = (lambda *_: 0) if self.holds_all else self._open
        return HeldText(self._streamed, opened, self._instead)

    def _streamed(self, text: str, joints: Sequence[int]) -> list[Finding]:
        """Find what is not told as it stands: of what is blocked the place is enough."""
        marks = _in_parts(self._marks.places, text, joints)
        found: list[Finding] = []
        for rule in self._rules:
            if rule.find is None or rule.output not in {"mask", "block"}:
                continue
            here = _beside(marks, _in_parts(partial(self._found, rule.find), text, joints))
            found += here if rule.output == "mask" else [replace(f, kind=STOP) for f in here]
        return found + _whole(marks, found)

    def _open(self, text: str, joints: Sequence[int] = ()) -> int:
        if joints:
            begin = joints[-1]
            return min(self._open(text), begin + self._open(text[begin:]))
        at = self._marks.open(text)
        for rule in self._rules:
            if rule.output in {"mask", "block"} and isinstance(rule.find, Local):
                at = min(at, rule.find.open(text))
                if self._quoted:
                    plain = unquoted(text)
                    at = min(at, plain.place(rule.find.open(plain.text), len(text)))
        return at

    def _found(self, find: Finder, text: str) -> Sequence[Finding]:
        """Find as the text stands and, where it is JSON, as it reads: without escapes."""
        if not self._quoted or "\\" not in text:
            return find(text)
        plain = unquoted(text)
        read = [
            replace(f, start=a, end=b)
            for f in find(plain.text)
            for a, b in [plain.span(f.start, f.end)]
        ]
        return [*find(text), *read]

    def _instead(self, kind: str, text: str) -> str:
        if kind != KNOWN:
            return hidden(kind, text)
        told = self._marks.meant(text)
        return json.dumps(told, ensure_ascii=False)[1:-1] if self._quoted else told

    def _looking(self, side: Side) -> _Look:
        return _Look(self._masked, side, self._marks.of if side == "input" else hidden)

    def _without(self, text: str) -> str:
        look = self._looking("output")
        told = look.change(text)
        return told if look.blocked is None else WITHHELD

    def _acted(self, text: str) -> str:
        """Return what a tool was called with: what marks stood for is the asker's own."""
        look = self._looking("output")
        told = look.change(text, but=self._marks.stands_for)
        return told if look.blocked is None else WITHHELD

    def _masked(self, text: str, side: Side, look: _Look) -> Iterator[Finding]:
        marks = self._marks.places(text) if side == "output" else ()
        for rule in self._rules:
            action = rule.on(side)
            if rule.find is None or action == "off":
                continue
            found = _beside(marks, rule.find(text))
            for one in merged(found):
                self.found[rule.name, side, one.kind, action] += 1
            if found and action == "block":
                look.blocked = look.blocked or rule.name
            elif action == "mask":
                yield from found

    def _back(self, change: Callable[[str], str]) -> Callable[[str], str]:
        return lambda text: self._marks.put_back(change(text))


class _Look:
    """One look at texts, and whether a guard blocks one of them."""

    def __init__(
        self,
        find: Callable[[str, Side, _Look], Iterator[Finding]],
        side: Side,
        by: Callable[[str, str], str],
    ) -> None:
        self._find, self._side, self._by = find, side, by
        self.blocked: str | None = None

    def change(self, text: str, but: Callable[[str], bool] | None = None) -> str:
        found = merged(self._find(text, self._side, self))
        if but is not None:
            found = [one for one in found if not but(text[one.start : one.end])]
        return replaced(text, found, self._by)


def _in_parts(
    find: Callable[[str], Sequence[Finding]], text: str, joints: Sequence[int]
) -> list[Finding]:
    """Return what is found in a text, and in each of its parts where it has some, by place."""
    found = [*find(text)]
    if not (within := [at for at in joints if 0 < at < len(text)]):
        return found
    for a, b in pairwise([0, *within, len(text)]):
        found += [replace(one, start=one.start + a, end=one.end + a) for one in find(text[a:b])]
    return sorted(set(found))


def _beside(marks: Sequence[Finding], found: Sequence[Finding]) -> Sequence[Finding]:
    """Return what was found, but for what is a part of a mark."""
    if not marks:
        return found
    starts = [mark.start for mark in marks]

    def within(one: Finding) -> bool:
        place = bisect_right(starts, one.start) - 1
        return place >= 0 and one.end <= marks[place].end

    return [one for one in found if not within(one)]


def _whole(marks: Sequence[Finding], found: Sequence[Finding]) -> list[Finding]:
    """Return the marks that nothing was found to overlap."""
    groups = merged(found)
    ends = [group.end for group in groups]

    def free(mark: Finding) -> bool:
        place = bisect_right(ends, mark.start)  # the first one that ends behind its start
        return place == len(groups) or groups[place].start >= mark.end

    return [mark for mark in marks if free(mark)]


def _marked(value: JsonValue, which: bool | tuple[str, ...]) -> JsonValue:
    if which is True:
        return as_data("of the request", value)
    if not isinstance(value, dict) or which is False:
        return value
    return {k: as_data(f"in {k}", v) if k in which else v for k, v in value.items()}
