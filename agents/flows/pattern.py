"""A flow, step by step: replay what it was told, tell it what is new, see what it asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from agents.flows.history import CLEANUP_S, Difference, FlowCommand, Line
from agents.flows.instance import Instance
from agents.flows.run import FlowContext
from agents.flows.wants import Cancel, Emit, Want
from agents.plain import plain_json
from agents.plan import Member
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import AgentFailedError, FlowError, StepCancelledError

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
    difference: Difference | None = None

    @property
    def members(self) -> tuple[Member, ...]:
        """The members that are to begin: none of a flow that has ended."""
        return () if self.outcome is not None else tuple(self.wanted.values())

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


def begun(code: Code, run_id: str, told: JsonValue, history: Sequence[Line]) -> Instance:
    """An instance that stands where its history ends; or where its code differs from it.

    Raises:
        FlowError: its code goes round without an end.
    """
    instance = Instance(run_id)
    if history:
        instance.start(_begin(code, instance, told), history[0], replayed=True)
        instance.replay(history[1:])
    return instance


def advance(
    instance: Instance, code: Code, told: JsonValue, news: Iterable[Line], at: float
) -> Advanced:
    """Tell an instance what is new, then the timers that are due then.

    One that was told nothing yet begins.
    """
    found = Advanced(difference=instance.difference)
    if found.difference is not None:
        return found

    def tell(line: Line) -> None:
        if instance.lines:
            instance.tell(line)
        else:
            instance.start(_begin(code, instance, told), line, replayed=False)
        found.add(line, instance.commands, instance.wants)

    try:
        for line in news:
            if not instance.done:
                tell(line)
        while not instance.done and (due := instance.timers.due(at)):
            tell(Line("timer", due[0][1], max(due[0][0], instance.loop.now)))
        found.outcome = _outcome(instance, at)
    except FlowError as error:
        found.outcome = _failed(error)
    return found


def _begin(code: Code, instance: Instance, told: JsonValue) -> Callable[[], Any]:
    return lambda: code(FlowContext(instance), told)


def next_due(instance: Instance) -> float | None:
    """When the first timer of an instance is due, or its time to clean up is over."""
    over = None if instance.cancelled_at is None else instance.cancelled_at + CLEANUP_S
    return min((due for due in (instance.timers.next_due, over) if due is not None), default=None)


def cancelled() -> Outcome:
    """The end of a flow that was cancelled."""
    return Outcome(state=State.CANCELLED, error=ErrorInfo.of(StepCancelledError()))


def _outcome(instance: Instance, at: float) -> Outcome | None:
    """Return how the flow ended; None while it waits for something."""
    main, since = instance.main, instance.cancelled_at
    if main is None or not main.done():
        if since is not None and at >= since + CLEANUP_S:
            return cancelled()
        if instance.open or instance.timers or instance.inbox.awaited:
            return None
        return _failed(FlowError("The flow waits for something that nobody brings."))
    if main.cancelled():
        if since is not None:
            return cancelled()
        return _failed(StepCancelledError("The flow's code cancelled itself."))
    error = main.exception()
    return _answer(main.result()) if error is None else _failed(error)


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
