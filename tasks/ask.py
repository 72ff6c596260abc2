"""``agents.ask``: one agent's turn."""

from __future__ import annotations

from celery import shared_task

from agents.base import turn_of
from agents.catalog import compensation
from agents.catalog.specs import check_specs, unknown
from agents.plan import Expand
from app.concurrency.fibers import in_thread
from app.execution.context import Step
from app.execution.sessions import named
from app.execution.task import StepTask
from celery_agents import names
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.outcome import Answer, Outcome


@shared_task(base=StepTask, name=names.ASK, request_type=Ask)
async def ask(step: Step, request: Ask) -> Answer | Outcome | Expand:
    """Ask one agent; args [input], kwargs: see :class:`celery_agents.contracts.ask.Ask`."""
    turn = turn_of(request, request.messages if step.talk is None else step.talk.messages)
    registry, turns = step.runtime.agents.registry, step.runtime.agents.turns
    narrowed = () if request.spec is None else (request.spec,)
    if registry.find(request.agent) is None or unknown(registry, narrowed):
        await in_thread(step.runtime.posted.look)  # somebody may have made it just now
    check_specs(registry, narrowed)
    if other := step.talk is not None and step.talk.agent != request.agent:  # handed over before
        request = request.model_copy(update={"agent": step.talk.agent})
    compensation.check(registry, request)
    said = await turns.take(request.agent, turn, step, when_open=request.when_open)
    answer = compensation.undoable(registry, request, await step.with_members(said))
    return named(request.agent, answer) if other else answer
