"""``agents.compensate``: undoing what a failed run had done."""

from __future__ import annotations

import logging

from celery import shared_task

from agents.catalog.compensation import compensation_of
from agents.patterns import compensate as pattern
from agents.patterns.plan import Expand
from app.execution.context import Step
from app.execution.task import StepTask
from app.journal.steps import compensations
from app.journal.steps.compensations import Uncertain
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
    run_id, journal = request.run_id, step.runtime.journal
    if step.run_id != run_id or step.step_id != compensation_id(run_id):
        raise InvalidPayloadError("A run is undone when it fails; nobody can ask for it.")
    _wait_for_silence(step, request)
    finished = journal.read(lambda c: compensations.finished(c, run_id))
    turn = journal.read(lambda c: compensations.turns(c, run_id))
    members = step.members()
    following = pattern.next_one(finished, members, turn)
    if following is not None:
        told = journal.read(lambda c: compensations.told(c, following.id))
        return pattern.undo(run_id, following, told, turn)
    outcome = pattern.conclusion(run_id, finished, members, _uncertain(step), turn)
    if outcome.error is not None:
        log.error("%s", outcome.error.message)
    return outcome


def _wait_for_silence(step: Step, request: Compensate) -> None:
    """What is under way is stopped first: what finishes all the same is the first to be undone.

    After the last attempt it goes on as it is; what finishes later is undone then.
    """
    runtime = step.runtime
    going = runtime.journal.transaction(lambda c: compensations.let_go(c, request.run_id))
    if going is not None and step.attempt < request.retry.max_attempts:
        runtime.follow(going)
        raise RunBusyError


def _uncertain(step: Step) -> list[Undoing]:
    """Steps with a compensation of which nobody knows what they have done."""
    found = step.runtime.journal.read(lambda c: compensations.uncertain(c, step.run_id))
    return [about for one in found if (about := _about(step, one)) is not None]


def _about(step: Step, one: Uncertain) -> Undoing | None:
    asked = Ask.from_message(one.payload["args"], one.payload["kwargs"], known=True)
    by = compensation_of(step.runtime.agents.registry, asked.agent, asked.compensation)
    if by is None:
        return None
    return Undoing(step=one.id, agent=asked.agent, by=by.agent, state=one.state)
