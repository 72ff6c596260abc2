"""A guard that looks at the texts that go into agents and come out of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from agents.base import Answer, Turn
from agents.catalog.registry import Registered, Registry
from agents.guarding.finding import mapped
from agents.guarding.screening import Screen, Side, TextGuard
from agents.guarding.untrusted import marked
from app.admission.guard import Asked, GuardedStep, Next, Reply
from app.concurrency.fibers import in_thread
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.errors import BlockedError
from celery_agents.redaction.streamed import StreamedText

T = TypeVar("T")

#: What a judge finds.
REFUSED = "refused"
#: Characters of a text that are looked at on the loop: more takes longer than a thread's wake.
_SHORT = 4_096
#: Characters that gather before a streamed text is looked at again.
_PIECE = 48


class ScreenGuard:
    """Flag, mask or block what guards find in what an agent is asked and in what it answers."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._rules: dict[str, tuple[TextGuard, ...]] = {}

    async def __call__(self, asked: Asked, go_on: Next) -> Reply:
        rules = self._of(asked.agent)
        if not rules:
            return await go_on(asked)
        screen = Screen(rules, asked.turn)
        turn = await _looked(screen, asked.turn.input, screen.asked, alone=not asked.turn.messages)
        spent = await _judged(asked, screen, "input", lambda: _asked_of(turn))
        if screen.blocked:
            return await _blocked(asked, screen, "input", spent)
        await _noted(asked, screen)
        if any(rule.untrusted for rule in rules) and marked(turn.input):
            await asked.step.distrust()
        step = ScreenedStep(asked.step, screen)
        reply = await go_on(replace(asked, turn=turn, step=step))
        return await _answered(replace(asked, step=step), screen, reply, spent)

    def _of(self, agent: Registered) -> tuple[TextGuard, ...]:
        found = self._rules.get(agent.name)
        if found is None:
            found = self._rules[agent.name] = self._registry.guards_of(agent)
        return found


class ScreenedStep:
    """A step whose agent's words are held back until it is known that they may be told."""

    def __init__(self, step: GuardedStep, screen: Screen) -> None:
        self._step = step
        self._screen = screen
        self._held: list[str] = []  # not looked at yet
        self._waiting = 0
        self._text = StreamedText(screen.streamed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._step, name)

    def say(self, text: str) -> None:
        """Tell watchers a piece of the answer's text, once nothing can come of it any more."""
        if not self._step.streamed:
            return
        if not self._screen.streams_changed:
            self._step.say(text)
            return
        self._held.append(text)
        self._waiting += len(text)
        if self._waiting >= _PIECE and not self._screen.holds_all:
            self._step.say(self._text.add(self._taken()))

    def tell(self, kind: Any, **data: JsonValue) -> None:
        """Tell watchers an event, behind all that was said before it."""
        if kind == "restart":
            self._taken()
            self._text = StreamedText(self._screen.streamed)
        elif kind != "progress" and not self._screen.holds_all:
            self.end()
        if self._screen.streams_changed:
            streamed = self._screen.streamed
            data = {name: mapped(value, streamed) for name, value in data.items()}
        self._step.tell(kind, **data)

    async def progress(self, **fields: JsonValue) -> None:
        """Tell how far it is, without a text that nobody has looked at whole."""
        if self._screen.hides:
            fields.pop("text", None)
        await self._step.progress(**fields)

    def meant(self, arguments: JsonValue) -> JsonValue:
        """Return arguments of a tool with what the model's marks stand for."""
        return self._screen.restored(arguments)

    def seen(self, result: JsonValue) -> JsonValue:
        """Return a tool's result as the model may see it."""
        return self._screen.result(result)

    def heard(self, turns: Sequence[ChatMessage]) -> None:
        """Keep what the agent said on the way, for its session, as whoever asked would read it."""
        self._step.heard(self._screen.restored_turns(turns))

    def end(self) -> None:
        """Tell the rest of what was said."""
        if told := self._text.add(self._taken()) + self._text.end():
            self._step.say(told)

    def _taken(self) -> str:
        held, self._held, self._waiting = "".join(self._held), [], 0
        return held


async def _answered(asked: Asked, screen: Screen, reply: Reply, spent: Usage) -> Reply:
    """Return the reply as whoever asked gets it; ``spent`` is what the input's judges have cost."""
    step = cast("ScreenedStep", asked.step)
    if not isinstance(reply, Answer | Outcome) or (isinstance(reply, Outcome) and not reply.ok):
        if not screen.holds_all:  # else nobody has looked at it
            step.end()
        return reply
    value = await _looked(screen, reply.value, lambda: screen.said(reply.value))
    usage = reply.usage + spent + await _judged(asked, screen, "output", lambda: value)
    if screen.blocked:
        return await _blocked(asked, screen, "output", usage)
    await _noted(asked, screen)
    step.end()
    return reply.model_copy(update={"value": screen.restored(value), "usage": usage})


async def _looked(
    screen: Screen, value: JsonValue, look: Callable[[], T], *, alone: bool = True
) -> T:
    """Look at texts: at long ones, and by others' functions, beside the loop."""
    short = alone and (
        not isinstance(value, dict | list | str)
        or (isinstance(value, str) and len(value) <= _SHORT)
    )
    return look() if short and not screen.foreign else await in_thread(look)


def _asked_of(turn: Turn) -> JsonValue:
    about = {"input", "messages", "instructions"}
    told: JsonValue = turn.model_dump(mode="json", include=about, exclude_defaults=True)
    return told


async def _judged(asked: Asked, screen: Screen, side: Side, told: Callable[[], JsonValue]) -> Usage:
    """Ask the agents that judge a side, unless it is blocked already; what they have cost."""
    judges = screen.judges(side)
    if not judges or screen.blocked:
        return Usage()
    helpers = asked.step.helpers()
    for guard, agent, action in judges:
        if not await helpers.allows(agent, side, told()):
            screen.found[guard, side, REFUSED, action] += 1
            if action == "block":
                screen.blocked = guard
                break
    return helpers.spent


async def _noted(asked: Asked, screen: Screen) -> None:
    """Write an event of what was found: kinds and counts, and nothing of the texts."""
    if screen.found:
        data = [
            {"guard": guard, "side": side, "found": kind, "count": str(count), "action": action}
            for (guard, side, kind, action), count in screen.found.items()
        ]
        screen.found.clear()
        await asked.step.note("guard", data)


async def _blocked(asked: Asked, screen: Screen, side: Side, usage: Usage) -> Outcome:
    """Return the end of a turn that a guard does not let pass: others may still be asked."""
    kinds = {kind for guard, _, kind, _ in screen.found if guard == screen.blocked}
    told = "its judge refused it" if kinds == {REFUSED} else f"it found {', '.join(sorted(kinds))}"
    await _noted(asked, screen)
    error = BlockedError(
        f"The guard {screen.blocked} does not let the {side} of {asked.agent.name} pass: {told}.",
        {"guard": screen.blocked, "side": side},
    )
    about: Any = {"usage": usage, "agent": asked.agent.name}
    return Outcome(state=State.FAILED, error=ErrorInfo.of(error), **about)
