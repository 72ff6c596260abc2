"""A guard that looks at the texts that go into agents and come out of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from agents.base import Turn
from agents.catalog.registry import Registered, Registry
from agents.guarding.screening import Screen, Side, TextGuard
from agents.guarding.untrusted import marked
from agents.plan import Expand
from app.admission.guard import Asked, GuardedStep, Next, Reply
from app.admission.guards.screened import ScreenedStep, looked
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.errors import AgentsError, BadAnswerError, BlockedError
from celery_agents.values import jsonable

#: What a judge finds.
REFUSED = "refused"


class ScreenGuard:
    """Flag, mask or block what guards find in what an agent is asked and in what it answers."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._rules: dict[tuple[str, str], tuple[TextGuard, ...]] = {}

    def concerns(self, agent: Registered) -> bool:
        """Return whether guards of texts stand round it."""
        return bool(self._of(agent))

    async def __call__(self, asked: Asked, go_on: Next) -> Reply:
        rules = self._of(asked.agent)
        if not rules:
            return await go_on(asked)
        screen = Screen(rules, asked.turn)
        turn = await looked(screen, asked.turn.input, screen.asked, alone=not asked.turn.messages)
        spent = await _judged(asked, screen, "input", lambda: _asked_of(turn))
        if screen.blocked:
            return await _blocked(asked, screen, "input", spent)
        await _noted(asked, screen)
        if any(rule.untrusted for rule in rules) and marked(turn.input):
            await asked.step.distrust()
        step = ScreenedStep(asked.step, screen, asked.agent.name)
        asked = replace(asked, turn=turn, step=cast("GuardedStep", step))
        try:
            reply = await go_on(asked)
        except AgentsError as error:
            if screen.looks or screen.judged:
                await _told(asked, screen, error)
            raise
        return await _answered(asked, step, screen, reply, spent)

    def _of(self, agent: Registered) -> tuple[TextGuard, ...]:
        key = (agent.name, agent.kind)  # made anew over the API it may be of another kind
        found = self._rules.get(key)
        if found is None:
            found = self._rules[key] = self._registry.guards_of(agent)
        return found


async def _answered(
    asked: Asked, step: ScreenedStep, screen: Screen, reply: Reply, spent: Usage
) -> Reply:
    """Return the reply as whoever asked gets it; ``spent`` is what the input's judges have cost."""
    if isinstance(reply, Expand):
        return await _waiting(asked, step, screen, reply, spent)
    if isinstance(reply, Outcome) and not reply.ok:
        return await _failed(asked, step, screen, reply)
    value = await looked(screen, reply.value, lambda: screen.said(reply.value))
    turns = await step.turns()
    await step.remembered()
    beside = step.beside()
    judged = await _judged(asked, screen, "output", lambda: _with(value, beside))
    usage = reply.usage + spent + judged
    if screen.blocked:
        return await _blocked(asked, screen, "output", usage)
    await _noted(asked, screen)
    step.keep(turns)
    await step.end()
    return reply.model_copy(update={"value": screen.restored(value), "usage": usage})


async def _waiting(
    asked: Asked, step: ScreenedStep, screen: Screen, plan: Expand, spent: Usage
) -> Reply:
    """Return what it waits for; what people are asked is let out like an answer."""
    plan = step.waiting(plan)
    usage = spent
    if beside := step.beside(plan):
        usage += await _judged(asked, screen, "output", lambda: beside)
    if screen.blocked:
        return await _blocked(asked, screen, "output", usage)
    if not screen.holds_all:  # else nobody has looked at it
        await step.end()
    return plan


async def _failed(asked: Asked, step: ScreenedStep, screen: Screen, reply: Outcome) -> Outcome:
    """Return an end without an answer: what was said on the way is told as far as it may be."""
    turns = await step.turns()
    if screen.blocked is None and not screen.judged:
        step.keep(turns)
        if not screen.holds_all:
            await step.end()
    error = reply.error
    if error is None or not (screen.looks or screen.judged):
        return reply
    told = await _told(asked, screen, error.exception())
    error = error.model_copy(update={"message": told.message, "details": told.details})
    return reply.model_copy(update={"error": error})


async def _told(asked: Asked, screen: Screen, error: AgentsError) -> AgentsError:
    """Return an error without what guards would not let out: it may repeat what a model said."""
    if screen.judged and isinstance(error, BadAnswerError):
        kept: JsonValue = f"{asked.agent.name} gave an answer that could not be read."
        guard = None
    else:
        kept, guard = await looked(screen, error.message, lambda: screen.shown(error.message))
    if guard is not None:
        kept = f"The guard {guard} does not let pass what {asked.agent.name} says of its failure."
    error.message = str(kept)
    details = jsonable({name: one for name, one in error.details.items() if name != "usage"})
    shown, guard = await looked(screen, details, lambda: screen.shown(details))
    if guard is not None or shown != details:
        usage = {"usage": error.details["usage"]} if "usage" in error.details else {}
        error.details = {**shown, **usage} if guard is None and isinstance(shown, dict) else usage
    error.args = (error.message, error.details) if error.details else (error.message,)
    await _noted(asked, screen)
    return error


def _with(value: JsonValue, beside: list[JsonValue]) -> JsonValue:
    return {"answer": value, "beside it": beside} if beside else value


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
