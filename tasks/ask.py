"""``agents.ask``: one agent's turn."""

from __future__ import annotations

from celery import shared_task

from agents.base import turn_of
from agents.catalog import compensation
from agents.plan import Expand
from app.execution.calls.experience import experienced
from app.execution.context import Step
from app.execution.sessions import named
from app.execution.staffing import answered_before, check_asked
from app.execution.task import StepTask
from celery_agents import names
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.outcome import Answer, Outcome


@shared_task(base=StepTask, name=names.ASK, request_type=Ask)
async def ask(step: Step, request: Ask) -> Answer | Outcome | Expand:
    """Ask one agent; args [input], kwargs: see :class:`celery_agents.contracts.ask.Ask`."""
    if (known := await answered_before(step, request.repeats)) is not None:
        return known
    turn = turn_of(request, request.messages if step.talk is None else step.talk.messages)
    registry, turns = step.runtime.agents.registry, step.runtime.agents.turns
    await check_asked(step, request)
    if other := step.talk is not None and step.talk.agent != request.agent:  # handed over before
        request = request.model_copy(update={"agent": step.talk.agent})
    compensation.check(registry, request)
    turn = await experienced(step, request, turn)
    said = await turns.take(request.agent, turn, step, when_open=request.when_open)
    answer = compensation.undoable(registry, request, await step.with_members(said))
    return named(request.agent, answer) if other else answer
