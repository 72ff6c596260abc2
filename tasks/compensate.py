"""``agents.compensate``: undoing what a failed run had done."""

from __future__ import annotations

import logging

from celery import shared_task

from agents.catalog.compensation import compensation_of
from agents.patterns import compensate as pattern
from agents.plan import Expand
from app.execution.context import Step
from app.execution.task import StepTask
from celery_agents import names
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.compensation import Undoing, compensation_id
from celery_agents.contracts.outcome import Outcome
from celery_agents.contracts.patterns import Compensate
from celery_agents.errors import InvalidPayloadError, RunBusyError

log = logging.getLogger(__name__)


@shared_task(base=StepTask, name=names.COMPENSATE, request_type=Compensate)
def compensate(step: Step, request: Compensate) -> Expand | Outcome:
    """Undo the steps that a run had finished, the last one first; see ``Compensate``."""
    run_id, journaled = request.run_id, step.runtime.journal.undoing
    _check(step, run_id)
    _wait_for_silence(step, request)
    finished, turn = journaled.finished(run_id), journaled.turns(run_id)
    members = step.members()
    following = pattern.next_one(finished, members, turn)
    if following is not None:
        return pattern.undo(run_id, following, journaled.told(following.id), turn)
    outcome = pattern.conclusion(run_id, finished, members, _uncertain(step), turn)
    if outcome.error is not None:
        log.error("%s", outcome.error.message)
    return outcome


def _check(step: Step, run_id: str) -> None:
    if step.run_id != run_id or step.step_id != compensation_id(run_id):
        raise InvalidPayloadError("A run is undone when it fails; nobody can ask for it.")


def _wait_for_silence(step: Step, request: Compensate) -> None:
    """Stop what is under way first: what finishes all the same is the first to be undone.

    After the last attempt it goes on as it is; what finishes later is undone then.
    """
    going = step.runtime.journal.undoing.let_go(request.run_id)
    if going is not None:
        step.runtime.follow(going)
        if going.cancels and step.attempt < request.retry.max_attempts:
            raise RunBusyError


def _uncertain(step: Step) -> list[Undoing]:
    """Steps with a compensation of which nobody knows what they have done."""
    found = []
    for one in step.runtime.journal.undoing.uncertain(step.run_id):
        asked = Ask.from_message(one.payload["args"], one.payload["kwargs"], known=True)
        by = compensation_of(step.runtime.agents.registry, asked.agent, asked.compensation)
        if by is not None:
            found.append(Undoing(step=one.id, agent=asked.agent, by=by.agent, state=one.state))
    return found
