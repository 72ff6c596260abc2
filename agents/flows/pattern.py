"""A flow, step by step: replay what it was told, tell it what is new, see what it asks for."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from agents.flows.history import CLEANUP_S, FlowCommand, Line
from agents.flows.instance import Instance
from agents.flows.run import FlowContext
from agents.flows.wants import BeginAnew, Cancel, Emit, Want
from agents.plain import plain_json
from agents.plan import Member
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import AgentFailedError, AgentsError, FlowError, StepCancelledError
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: A flow's function, of its version.
Code = Callable[[Any, Any], Any]


@dataclass(slots=True)
class Advanced:
    """An advance: lines for its history, what it asks for, and how it ended, if it did."""

    lines: list[Line] = field(default_factory=list)
    wanted: dict[str, Member] = field(default_factory=dict)
    cancels: list[str] = field(default_factory=list)
    emits: list[Emit] = field(default_factory=list)
    outcome: Outcome | None = None
    #: What its code begins anew with, if it does.
    state: BeginAnew | None = None

    @property
    def members(self) -> tuple[Member, ...]:
        """The members that are to begin: none of a flow that has ended."""
        over = self.outcome is not None or self.state is not None
        return () if over else tuple(self.wanted.values())

    def add(self, line: Line, commands: Iterable[FlowCommand], wants: Iterable[Want]) -> None:
        """Note an event, and what was asked upon it."""
        self.lines.append(line._replace(commands=tuple(commands)))
        for want in wants:
            match want:
                case Member():
                    self.wanted[want.key] = want
                case Cancel(key):
                    if self.wanted.pop(key, None) is None:  # else nobody has begun with it
                        self.cancels.append(key)
                case Emit():
                    self.emits.append(want)


def begun(
    code: Code, run_id: str, told: JsonValue, history: Sequence[Line], *, remembers: bool = False
) -> Instance:
    """An instance that stands where its history ends; or where its code differs from it.

    Raises:
        FlowError: its code goes round without an end.
    """
    first = (history[0].value if history else None) or {}
    instance = Instance(
        first.get("of", run_id),
        first.get("generation", 0),
        forked="of" in first,
        remembers=remembers,
    )
    if history:
        _start(instance, code, told, history[0], replayed=True)
        instance.replay(line for line in history[1:] if line.kind != "unread")  # that is for people
    return instance


def advance(
    instance: Instance, code: Code, told: JsonValue, news: Iterable[Line], at: float
) -> Advanced:
    """Tell an instance what is new, then the timers that are due then.

    One that was told nothing yet begins.
    """
    found = Advanced()

    def tell(line: Line) -> None:
        if instance.lines:
            instance.tell(line)
        else:
            _start(instance, code, told, line, replayed=False)
        found.add(line, instance.commands, instance.wants)

    try:
        for line in _in_turn(instance, news):
            if not instance.done:
                tell(line)
        while not instance.done and (due := instance.timers.due(at)):
            tell(Line("timer", due[0][1], max(due[0][0], instance.loop.now)))
        found.outcome, found.state = _end(instance, at)
    except FlowError as error:
        found.outcome = _failed(error)
    return found


def _in_turn(instance: Instance, news: Iterable[Line]) -> Iterator[Line]:
    """Give lines in their order, but signals only while the instance hears them."""
    kept = deque[Line]()
    for line in news:
        while kept and instance.inbox.hears:
            yield kept.popleft()
        if line.kind == "signal" and not (instance.inbox.hears and not kept):
            kept.append(line)
        else:
            yield line
    while kept and instance.inbox.hears:
        yield kept.popleft()


def begins_anew(ended: Instance, before: Advanced, at: float, version: int, heard: int) -> Line:
    """The first line of the generation after one whose code asked for that."""
    assert before.state is not None, "its code begins anew"
    value: dict[str, Any] = {
        "version": version,
        "generation": ended.generation + 1,
        "input": before.state.state,
    }
    if ended.forked:
        value["of"] = ended.run_id
    if unread := ended.inbox.unread:
        value["signals"] = [list(one) for one in unread]
    # Signals that were heard are not told again: they stand before this line.
    return Line("started", "", at, value, place=heard)


def _start(instance: Instance, code: Code, told: JsonValue, line: Line, *, replayed: bool) -> None:
    value = line.value or {}
    for signal in value.get("signals", ()):
        instance.inbox.put(*signal)
    begins = value.get("input", told)
    instance.start(lambda: code(FlowContext(instance), begins), line, replayed=replayed)


def next_due(instance: Instance) -> float | None:
    """When the first timer of an instance is due, or its time to clean up is over."""
    over = None if instance.cancelled_at is None else instance.cancelled_at + CLEANUP_S
    return min((due for due in (instance.timers.next_due, over) if due is not None), default=None)


def cancelled() -> Outcome:
    """The end of a flow that was cancelled."""
    return Outcome(state=State.CANCELLED, error=ErrorInfo.of(StepCancelledError()))


def _end(instance: Instance, at: float) -> tuple[Outcome | None, BeginAnew | None]:
    """Return how the flow ended, or that it begins anew; neither while it waits for something."""
    main, since = instance.main, instance.cancelled_at
    if main is None or not main.done():
        over = since is not None and at >= since + CLEANUP_S
        return (cancelled() if over else _stuck(instance)), None
    if main.cancelled() and since is None:
        return _failed(StepCancelledError("The flow's code cancelled itself.")), None
    error = None if main.cancelled() else main.exception()
    if main.cancelled() or (isinstance(error, BeginAnew) and since is not None):
        return cancelled(), None
    if isinstance(error, BeginAnew):
        return None, error
    if error is None:
        return _answer(main.result()), None
    if not isinstance(error, AgentsError):
        note(log, "flow", "A flow's code failed", error=error, level=logging.ERROR, trace=True)
    return _failed(error), None


def _stuck(instance: Instance) -> Outcome | None:
    """Return the end of a flow that waits for nothing that could come."""
    if instance.open or instance.timers or instance.inbox.awaited:
        return None
    return _failed(FlowError("The flow waits for something that nobody brings."))


def _answer(value: Any) -> Outcome:
    try:
        return Outcome(state=State.SUCCEEDED, value=plain_json(value))
    except ValueError as error:
        return _failed(AgentFailedError(f"The flow's answer cannot be kept: {error}."))


def _failed(error: BaseException) -> Outcome:
    return Outcome(state=State.FAILED, error=ErrorInfo.of(error))


def dropped(instance: Instance) -> None:
    """Let go of an instance."""
    with suppress(FlowError):
        instance.close()
