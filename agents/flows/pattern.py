"""A flow, step by step: replay what it was told, tell it what is new, see what it asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from agents.flows.history import Difference, FlowCommand, Line
from agents.flows.instance import Instance
from agents.flows.run import FlowContext
from agents.flows.wants import Cancel, Emit, Want
from agents.plain import plain_json
from agents.plan import Member
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import AgentFailedError, AgentsError, FlowError, StepCancelledError

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
        found.outcome = _outcome(instance)
    except FlowError as error:
        found.outcome = _failed(error)
    return found


def _begin(code: Code, instance: Instance, told: JsonValue) -> Callable[[], Any]:
    return lambda: code(FlowContext(instance), told)


def _outcome(instance: Instance) -> Outcome | None:
    """Return how the flow ended; None while it waits for something."""
    main = instance.main
    if main is None or not main.done():
        if instance.open or instance.timers or instance.inbox.awaited:
            return None
        return _failed(FlowError("The flow waits for something that nobody brings."))
    if main.cancelled():
        return _failed(StepCancelledError("The flow's code cancelled itself."))
    error = main.exception()
    if error is None:
        return _answer(main.result())
    if isinstance(error, AgentsError):
        return _failed(error)
    return Outcome(state=State.FAILED, error=ErrorInfo.of(error))


def _answer(value: Any) -> Outcome:
    try:
        return Outcome(state=State.SUCCEEDED, value=plain_json(value))
    except ValueError as error:
        return _failed(AgentFailedError(f"The flow's answer cannot be kept: {error}."))


def _failed(error: AgentsError) -> Outcome:
    return Outcome(state=State.FAILED, error=ErrorInfo.of(error))


def dropped(instance: Instance) -> None:
    """Let go of an instance."""
    with suppress(FlowError):
        instance.close()
