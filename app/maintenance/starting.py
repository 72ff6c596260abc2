"""The rows of runs that something in the journal starts: a schedule's slot, a stream's entry."""

from __future__ import annotations

from typing import Any

from app.execution.runtime import Runtime
from app.execution.submission import Submission
from app.execution.task import StepTask
from app.journal.schema.rows import NewStep
from celery_agents.contracts.flows.schedules import ScheduledRun
from celery_agents.errors import InvalidPayloadError


def row_of_run(
    runtime: Runtime, what: str, target: ScheduledRun, run_id: str, tenant: str
) -> NewStep:
    """The row of a run of what a schedule or a subscription starts; ``what`` is for its errors.

    Raises:
        InvalidPayloadError: its task is not here, or does not take what it is given.
    """
    task: Any = runtime.app.tasks.get(target.task)
    if not isinstance(task, StepTask):
        raise InvalidPayloadError(f"{what}: {target.task} is not a step of this service.")
    submission = Submission(
        run_id,
        target.task,
        target.args,
        target.kwargs,
        target.queue,
        target.priority,
        {},
        tenant,
    )
    settings = runtime.settings
    submission.refuse_large(settings.payload_limit_bytes, settings.spread_limit_bytes)
    try:
        return submission.row(task.parse(target.args, target.kwargs))
    except TypeError as error:
        raise InvalidPayloadError(f"{what}: {target.task}: {error}") from None
