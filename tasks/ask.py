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
from celery_agents.contracts.outcome import Answer, Outcome, State
from celery_agents.errors import AwaitsAnswerError


@shared_task(base=StepTask, name=names.ASK, request_type=Ask)
async def ask(step: Step, request: Ask) -> Answer | Outcome | Expand:
    """Ask one agent; args [input], kwargs: see :class:`celery_agents.contracts.ask.Ask`."""
    if request.repeats is not None and request.repeats.same_as is not None:
        known = await in_thread(_answer_of, step, request.repeats.same_as)
        if known is not None:
            return known
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


def _answer_of(step: Step, same_as: str) -> Outcome | None:
    """Return the answer of the turn that was asked the same; None: it has failed.

    It cost nothing again.

    Raises:
        AwaitsAnswerError: it is not there yet.
    """
    found = step.runtime.journal.parents.turn(same_as, step.run_id)
    if found is None:
        return None
    state, outcome, age_s = found
    if not state.final:
        about = {"retry_after_s": min(age_s * _LOOK_SHARE, _LOOK_MAX_S)}
        error = AwaitsAnswerError(f"{same_as} was asked the same, and is under way.", about)
        error.steady = True
        raise error
    if outcome is None or not outcome.ok:
        return None
    return Outcome(state=State.SUCCEEDED, value=outcome.value, agent=outcome.agent)


#: The next look for an answer comes after this share of the time that it has taken, so that the
#: wait is no tenth longer; a look is two statements.
_LOOK_SHARE, _LOOK_MAX_S = 0.1, 5.0
